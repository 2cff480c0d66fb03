package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

// figure is one value of one benchmark.
type figure struct {
	name  string // without "Benchmark" and the number of processors
	unit  string
	value float64
}

var procs = regexp.MustCompile(`-\d+$`)

// parse reads benchmark lines: a name, a count, and pairs of value and unit.
func parse(text []byte) (figures []figure, err error) {
	s := bufio.NewScanner(bytes.NewReader(text))
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := procs.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				break // not a benchmark's line after all
			}
			figures = append(figures, figure{name, f[i+1], v})
		}
	}
	return figures, s.Err()
}

// value finds a figure.
func value(figures []figure, name, unit string) (float64, bool) {
	for _, f := range figures {
		if f.name == name && f.unit == unit {
			return f.value, true
		}
	}
	return 0, false
}

// Figures of Shaken Fist 0.2.6 as it shells out to do these things, measured once
// on a machine like the ones this project is developed on; docs/design.md says how.
const (
	seedCreate        = 1213e6 // ns, image cached
	seedDelete        = 564e6
	seedNetworkCreate = 623e6
	seedNetworkDelete = 310e6
	seedGet           = 280  // requests/s on two cores
	seedList          = 40   // requests/s on two cores, 1000 records
	seedMemory        = 1372 // MB resident, all its processes
)

// table prints what was measured beside what it is compared with.
func table(w io.Writer, figures []figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\there\tbeside\tratio\tgoal")
	row := func(what, here, beside, ratio, goal string) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", what, here, beside, ratio, goal)
	}
	ms := func(ns float64) string { return fmt.Sprintf("%.1f ms", ns/1e6) }
	times := func(r float64) string { return fmt.Sprintf("%.1f x", r) }

	if v, ok := value(figures, "System/create-instance", "ns/op"); ok {
		row("create an instance, until it runs", ms(v), ms(seedCreate)+" the seed (*)", times(seedCreate/v), "")
		if bare, ok := value(figures, "StartBare", "ns/op"); ok {
			row("  beyond bare QEMU", ms(v-bare), ms(bare)+" bare QEMU", times(v/bare), "< 50 ms more")
		}
	}
	// Two commands to QEMU are one pass of PauseBare, and of virsh's pair.
	versus := func(what, name, bare, other string, share float64) {
		v, ok1 := value(figures, "System/"+name, "ns/op")
		b, ok2 := value(figures, bare, "ns/op")
		if ok1 && ok2 {
			b *= share
			row(what, fmt.Sprintf("%.2f ms", v/1e6), fmt.Sprintf("%.2f ms %s", b/1e6, other), fmt.Sprintf("%.2f x", b/v), "")
		}
	}
	versus("pause an instance, through the API", "pause", "PauseBare", "bare QMP", 0.5)
	versus("  beside libvirt", "pause", "Libvirt/PauseVirsh", "virsh", 0.5)
	versus("resume it", "unpause", "PauseBare", "bare QMP", 0.5)
	versus("pull its plug", "poweroff", "StopBare", "bare QMP", 1)
	versus("start it again", "poweron", "StartBare", "bare QEMU", 1)
	there, ok1 := value(figures, "Reachable", "ns/there")
	here, ok2 := value(figures, "Reachable", "ns/here")
	if ok1 && ok2 {
		row("create a guest, until another node reaches it", ms(there), ms(here)+" its own node", fmt.Sprintf("%.2f x", here/there), "")
	}
	against := func(name, what string, seed float64, goal string) {
		if v, ok := value(figures, name, "ns/op"); ok {
			row(what, ms(v), ms(seed)+" the seed (*)", times(seed/v), goal)
		}
	}
	against("System/delete-instance", "delete a running instance", seedDelete, "< 100 ms")
	against("System/create-network", "create a network, NAT and DHCP", seedNetworkCreate, "< 15 ms")
	against("System/delete-network", "delete it", seedNetworkDelete, "< 60 ms")
	if v, ok := value(figures, "Remotes1000", "ns/op"); ok {
		row("1000 guests of other hosts made known, three entries each", ms(v), "", "", "< 50 ms")
	}
	rate := func(name, what string, seed float64, goal string) {
		if v, ok := value(figures, name, "requests/s"); ok {
			row(what, fmt.Sprintf("%.0f/s", v), fmt.Sprintf("%.0f/s the seed on two (*)", seed), times(v/seed), goal)
		}
	}
	rate("System/get-instance", "GET an instance, one core", seedGet, "> 20000/s")
	rate("System/list-1000", "GET a list of 1000, one core", seedList, "> 200/s")
	if v, ok := value(figures, "ListLarge/instances?limit=100", "ns/op"); ok {
		row("a page of 100 of 25,000 instances", ms(v), "", "", "< 5 ms")
	}
	if v, ok := value(figures, "ListLarge/instances", "ns/op"); ok {
		row("a list of 25,000 instances, streamed", ms(v), "", "", "< 250 ms")
	}
	if v, ok := value(figures, "ListLarge/instances", "ns/cold"); ok {
		row("  the first one, which decodes them", ms(v), "", "", "")
	}
	scale(figures, row)
	if v, ok := value(figures, "Authenticate", "req/s"); ok {
		row("log in with a key that was used before", fmt.Sprintf("%.0f/s", v), "", "", "")
	}
	if v, ok := value(figures, "System/idle-daemon", "rss-bytes"); ok {
		row("memory of an idle daemon", fmt.Sprintf("%.0f MB", v/1e6), fmt.Sprintf("%d MB the seed (*)", seedMemory), times(seedMemory*1e6/v), "< 40 MB")
	}
	if v, ok := value(figures, "CreatesOnEtcd", "creates/s"); ok {
		bare, _ := value(figures, "CreatesOnEtcd", "txns/s")
		row("instances created through three processes on one etcd", fmt.Sprintf("%.0f/s", v), fmt.Sprintf("%.0f/s bare transactions", bare), fmt.Sprintf("%.3f x", v/bare), "")
	}
	for _, clients := range []string{"250", "20000"} {
		goal := map[string]string{"250": "> 3 x", "20000": "> 8 x"}[clients]
		for _, flight := range []string{"1", "16", "64"} {
			for _, kind := range []string{"lean", "usual"} {
				name := fmt.Sprintf("VersusDnsmasq/clients=%s/dnsmasq=%s/inflight=%s", clients, kind, flight)
				ours, ok1 := value(figures, name, "dhcpd/s")
				theirs, ok2 := value(figures, name, "dnsmasq/s")
				if r, ok := value(figures, name, "ratio"); ok && ok1 && ok2 {
					row(fmt.Sprintf("DHCP exchanges, %s clients, %s in flight", clients, flight),
						fmt.Sprintf("%.0f/s", ours), fmt.Sprintf("%.0f/s dnsmasq, %s", theirs, kind), times(r), goal)
				}
			}
		}
	}
	pair := func(what, ours, theirs, other, goal string) {
		a, ok1 := value(figures, ours, "ns/op")
		b, ok2 := value(figures, theirs, "ns/op")
		if ok1 && ok2 {
			row(what, fmt.Sprintf("%.2f ms", a/1e6), fmt.Sprintf("%.2f ms %s", b/1e6, other), times(b/a), goal)
		}
	}
	for _, size := range []string{"1KiB", "64KiB", "1MiB"} {
		pair("config drive, "+size+" of user data", "Drive/by=configdrive/user="+size, "Drive/by=genisoimage/user="+size, "genisoimage", "> 8 x")
	}
	pair("qcow2 overlay", "CreateOverlay", "CreateOverlayQemuImg", "qemu-img create", "> 20 x")
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "(*) measured once, on another machine of this kind; everything else in this run")
	return err
}

// scale prints how things are in a large simulated cloud.
func scale(figures []figure, row func(what, here, beside, ratio, goal string)) {
	for _, g := range []struct{ nodes, goal string }{{"1000", "> 10000/s"}, {"5000", "> 2000/s"}} {
		if v, ok := value(figures, "Best/"+g.nodes, "decisions/s"); ok {
			row("scheduler decisions among "+g.nodes+" nodes", fmt.Sprintf("%.0f/s", v), "", "", g.goal)
		}
	}
	for _, call := range []struct{ name, what string }{
		{"create", "record an instance"}, {"delete", "ask for a deletion"}, {"network", "record a network"}, {"get", "get an instance"},
	} {
		few, ok1 := value(figures, "CreateAt/few/"+call.name, "calls/s")
		many, ok2 := value(figures, "CreateAt/100000/"+call.name, "calls/s")
		if ok1 && ok2 {
			row(call.what+", 1,000 nodes and 100,000 instances", fmt.Sprintf("%.0f/s", many), fmt.Sprintf("%.0f/s with few instances", few), fmt.Sprintf("%.2f x", many/few), "flat")
		}
	}
	if v, ok := value(figures, "CreateAt/memory", "B/instance"); ok {
		row("memory of an instance's records in the store", fmt.Sprintf("%.1f KB", v/1e3), "", "", "")
	}
	few, ok1 := value(figures, "Agents/4", "events/instance")
	many, ok2 := value(figures, "Agents/64", "events/instance")
	watches, _ := value(figures, "Agents/64", "watches/node")
	if ok1 && ok2 {
		row(fmt.Sprintf("events heard of a create, 64 nodes with %.0f watches each", watches), fmt.Sprintf("%.1f", many), fmt.Sprintf("%.1f with 4 nodes", few), fmt.Sprintf("%.2f x", few/many), "flat")
	}
}
