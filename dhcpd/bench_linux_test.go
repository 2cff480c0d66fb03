package dhcpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// BenchmarkAppendAnswer is the pure part: a REQUEST to its ACK.
func BenchmarkAppendAnswer(b *testing.B) {
	for _, clients := range []int{250, 20000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n, leases := manyClients(clients)
			table := mustTable(b, n, leases)
			l := newLoad(b, -1, leases)
			reply := make([]byte, 0, maxFrame)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.stamp(l.request, i%clients)
				copy(l.request[requestedAt:], leases[i%clients].Addr.AsSlice())
				if _, verdict := table.AppendAnswer(reply, l.request); verdict != Acked {
					b.Fatal(verdict)
				}
			}
		})
	}
}

// BenchmarkNewTable is what a change of one lease costs.
func BenchmarkNewTable(b *testing.B) {
	for _, clients := range []int{250, 20000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n, leases := manyClients(clients)
			b.ReportAllocs()
			for b.Loop() {
				mustTable(b, n, leases)
			}
		})
	}
}

// variant is a way to run dnsmasq.
type variant struct {
	name string
	args []string
	// round is the number of exchanges (DISCOVER, OFFER, REQUEST, ACK) that each
	// server does in turn, by the number of clients.
	round map[int]int
}

// variants are dnsmasq as the original Shaken Fist runs it, which writes its leases
// and a log, and dnsmasq at its leanest: it keeps no leases on disk and says nothing.
// The first rewrites its whole file for each lease, hence the short rounds.
func variants(dir string) []variant {
	return []variant{
		{"usual", []string{"--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--log-facility=" + filepath.Join(dir, "log")},
			map[int]int{250: 1000, 20000: 40}},
		{"lean", []string{"--leasefile-ro", "--quiet-dhcp", "--log-facility=/dev/null"},
			map[int]int{250: 3000, 20000: 1000}},
	}
}

// BenchmarkVersusDnsmasq has this package's loop and dnsmasq, in a process of
// its own each, answer the same load on the same topology, taking turns. Servers
// are pinned to one processor and the load to another. An op is a round of both;
// "ratio" is exchanges/s of ours by dnsmasq's. Run it with -benchtime 5x.
func BenchmarkVersusDnsmasq(b *testing.B) {
	need.Program(b, "taskset", "util-linux")
	need.Program(b, "dnsmasq", "dnsmasq-base")
	for _, clients := range []int{250, 20000} {
		for _, v := range variants(b.TempDir()) {
			b.Run(fmt.Sprintf("clients=%d/dnsmasq=%s", clients, v.name), func(b *testing.B) {
				n, leases := manyClients(clients)
				theirs, ours := newLab(b), newLab(b)
				theirs.startDnsmasq(b, v, n, leases)
				ours.startProcess(b, clients)
				dnsmasq, dhcpd := newLoad(b, theirs.rawFD(b), leases), newLoad(b, ours.rawFD(b), leases)
				// What is measured is a network in use: all clients have a lease,
				// from the file or from now.
				dnsmasq.exchange(16, 1)
				if v.name == "lean" {
					dnsmasq.exchange(clients, 16)
				}
				for _, inFlight := range []int{1, 16, 64} {
					b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
						pinned(b, func() { compare(b, dnsmasq, dhcpd, v.round[clients], inFlight) })
					})
				}
			})
		}
	}
}

// compare reports the medians of the rounds: other work on the machine disturbs
// some of them.
func compare(b *testing.B, dnsmasq, dhcpd *load, round, inFlight int) {
	var theirs, ours, ratio []float64
	dnsmasq.resent, dhcpd.resent = 0, 0
	for b.Loop() {
		start := time.Now()
		dnsmasq.exchange(round, inFlight)
		middle := time.Now()
		dhcpd.exchange(round, inFlight)
		end := time.Now()
		theirs = append(theirs, float64(round)/middle.Sub(start).Seconds())
		ours = append(ours, float64(round)/end.Sub(middle).Seconds())
		ratio = append(ratio, middle.Sub(start).Seconds()/end.Sub(middle).Seconds())
	}
	b.ReportMetric(median(theirs), "dnsmasq/s")
	b.ReportMetric(median(ours), "dhcpd/s")
	b.ReportMetric(median(ratio), "ratio")
	b.ReportMetric(float64(dnsmasq.resent+dhcpd.resent), "resent")
	b.ReportMetric(0, "ns/op")
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// pinned calls f with its thread on the first of this process's processors. The
// servers are on the last one.
func pinned(b *testing.B, f func()) {
	first, _ := processors(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	one.Set(first)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	f()
}

// processors returns the first and the last processor of this process.
func processors(b *testing.B) (first, last int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil {
		b.Fatal(err)
	}
	first = -1
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return first, last
}

// server starts a program in the host's namespace on the last processor, and
// ends it with the test by closing its standard input and killing it.
func (l *lab) server(b *testing.B, env []string, argv ...string) io.Reader {
	b.Helper()
	_, last := processors(b)
	args := append([]string{"netns", "exec", l.host, "taskset", "-c", strconv.Itoa(last)}, argv...)
	cmd := exec.Command("ip", args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return out
}

// startDnsmasq starts dnsmasq for a network whose clients all have a lease already.
func (l *lab) startDnsmasq(b *testing.B, v variant, n Network, leases []Lease) {
	b.Helper()
	run(b, "ip", "-n", l.host, "addr", "add", n.Router.String()+"/8", "dev", "br0")
	dir := b.TempDir()
	var hosts, given strings.Builder
	expiry := time.Now().Add(time.Hour).Unix()
	for _, lease := range leases {
		fmt.Fprintf(&hosts, "%v,%v\n", lease.MAC, lease.Addr)
		fmt.Fprintf(&given, "%d %v %v * *\n", expiry, lease.MAC, lease.Addr)
	}
	write := func(path, content string) {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	write(filepath.Join(dir, "hosts"), hosts.String())
	for _, arg := range v.args {
		if path, ok := strings.CutPrefix(arg, "--dhcp-leasefile="); ok {
			write(path, given.String())
		}
	}
	l.server(b, nil, append([]string{need.Program(b, "dnsmasq", "dnsmasq-base"),
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0",
		"--interface=br0", "--no-ping", "--dhcp-hostsfile=" + filepath.Join(dir, "hosts"),
		"--dhcp-range=10.0.0.2,static,255.0.0.0,1h", "--dhcp-lease-max=1000000",
		"--dhcp-option=3,10.0.0.1", "--dhcp-option=6,192.0.2.53,192.0.2.54",
		"--dhcp-option=15,cloud.example", "--dhcp-option=26,1450"}, v.args...)...)
}

// serveClients in the environment makes the test binary a server of so many clients.
const serveClients = "DHCPD_TEST_SERVE_CLIENTS"

func (l *lab) startProcess(b *testing.B, clients int) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	out := l.server(b, []string{serveClients + "=" + strconv.Itoa(clients)}, self)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatalf("server process: %q, %v", line, err)
	}
}

func TestMain(m *testing.M) {
	if clients, err := strconv.Atoi(os.Getenv(serveClients)); err == nil {
		if err := serveProcess(clients); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveProcess serves br0 until standard input ends.
func serveProcess(clients int) error {
	table, err := NewTable(manyClients(clients))
	if err != nil {
		return err
	}
	bridge, err := net.InterfaceByName("br0")
	if err != nil {
		return err
	}
	conn, err := Listen(bridge.Index)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); conn.Close() }()
	return NewServer(table, nil).Serve(context.Background(), conn)
}
