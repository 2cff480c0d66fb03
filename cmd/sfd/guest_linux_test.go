package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

const (
	sshKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHZlcnktc2VjcmV0LWtleS1vZi10aGlzLXRlc3QxMjM0 me@here"
	userData = "#!/bin/sh\necho it is $(hostname)\n"
)

func (l *lab) network(ctx context.Context, name string) *spec.Network {
	l.Helper()
	n, err := l.client.CreateNetwork(ctx, "", spec.NetworkSpec{Name: name, Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err == nil {
		n, err = l.client.WaitNetwork(ctx, n.UUID, client.NetworkCreated)
	}
	if err != nil {
		l.Fatal(err)
	}
	return n
}

func (l *lab) spec(name string, nics ...spec.InterfaceSpec) spec.InstanceSpec {
	return spec.InstanceSpec{
		Name: name, CPUs: 1, MemoryMiB: 160, Disks: []spec.Disk{{SizeGB: 8, Base: l.image}},
		Interfaces: nics, SSHKey: sshKey, UserData: []byte(userData),
	}
}

// booted waits for the login prompt.
func (l *lab) booted(ctx context.Context, id string) {
	l.Helper()
	_, err := l.client.WaitInstance(ctx, id, func(i *spec.Instance) (bool, error) {
		if done, err := client.InstanceCreated(i); err != nil || !done {
			return done, err
		}
		events, err := l.client.Events(ctx, spec.KindInstance, id)
		return slices.ContainsFunc(events, func(e *spec.Event) bool { return e.Message == "login prompt" }), err
	})
	if err != nil {
		l.Fatal(err)
	}
}

// TestGuest boots three guests by the real thing and asks them what they see.
func TestGuest(t *testing.T) {
	l := newLab(t)
	ctx := timeout(t)
	l.start()
	one, other := l.network(ctx, "one"), l.network(ctx, "other")
	var ids [3]string
	for i, want := range []spec.InstanceSpec{
		l.spec("first", spec.InterfaceSpec{Network: one.UUID, Address: "10.0.0.7"}),
		l.spec("second", spec.InterfaceSpec{Network: one.UUID, Address: "10.0.0.8"}),
		l.spec("third", spec.InterfaceSpec{Network: other.UUID, Address: "10.0.0.9"}),
	} {
		made, err := l.client.CreateInstance(ctx, "", want)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = made.UUID
	}
	for _, id := range ids {
		l.booted(ctx, id)
	}
	for i, name := range []string{"first", "second", "third"} {
		t.Run("provisioned/"+name, func(t *testing.T) { checkProvisioned(t, ctx, l, ids[i], name) })
	}
	first := l.console(ctx, ids[0])
	t.Run("network", func(t *testing.T) { checkNetwork(t, ctx, l, first) })
	t.Run("host", func(t *testing.T) { checkHostHidden(t, ctx, l, first) })
	t.Run("end", func(t *testing.T) { checkEnd(t, ctx, l) })
}

// checkProvisioned holds what the guest got by DHCP and by its config drive
// against what the API says.
func checkProvisioned(t *testing.T, ctx context.Context, l *lab, id, name string) {
	nics, err := l.client.InstanceInterfaces(ctx, id)
	if err != nil || len(nics) != 1 {
		t.Fatalf("%d interfaces, %v", len(nics), err)
	}
	sum := func(s string) string {
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:])
	}
	address := nics[0].Address.String()
	for _, want := range []struct {
		report string
		values map[string]string
	}{
		{"configdrive eth0", map[string]string{"address": address, "mac": nics[0].MAC, "mtu": "1450", "router": "10.0.0.1"}},
		{"hostname", map[string]string{"name": name + ".local"}},
		{"sshkey", map[string]string{"sha256": sum(sshKey)}},
		{"userdata", map[string]string{"sha256": sum(userData)}},
		{"dhcp eth0", map[string]string{"event": "bound", "address": address, "mtu": "1450", "router": "10.0.0.1", "server": "10.0.0.1", "dns": "10.0.0.1"}},
		{"match eth0", map[string]string{"address": "yes", "mtu": "yes"}},
	} {
		got, err := l.said(ctx, id).Report(ctx, want.report)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range want.values {
			if got[key] != value {
				t.Errorf("%s: %s is %q, want %q", want.report, key, got[key], value)
			}
		}
	}
	if _, err := l.said(ctx, id).Line(ctx, "userdata: it is "+name); err != nil {
		t.Error(err)
	}
}

// checkNetwork tries who can be reached from the first guest.
func checkNetwork(t *testing.T, ctx context.Context, l *lab, c *guest.Console) {
	l = l.during(t)
	var seen atomic.Value
	l.serve(l.internet, beyond+":80", func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.RemoteAddr)
		fmt.Fprintln(w, "the world")
	})
	l.resolve()
	get := func(host string) string {
		return `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 ` + host + " 80 | grep '200 OK'"
	}
	for _, try := range []struct {
		what, command string
		works         bool
	}{
		{"its router", "ping -c 1 -W 5 10.0.0.1", true},
		{"a host beyond the NAT", "ping -c 1 -W 5 " + beyond, true},
		{"that host's web server", get(beyond), true},
		{"a neighbour", "ping -c 1 -W 5 10.0.0.8", true},
		{"a neighbour's web server", get("10.0.0.8"), true},
		{"an address of another network with the same block", "ping -c 2 -W 1 10.0.0.9", false},
		{"a name of the world's", "nslookup www.example", true},
		{"a name that is nobody's", "nslookup www.invalid", false},
		{"that name from the host", "nslookup www.example 192.168.20.1", false},
		{"a neighbour's name", "nslookup second.", true},
		{"a neighbour's name in the zone", "nslookup second.shaken", true},
		{"a neighbour by its name", "ping -c 1 -W 5 second", true},
		{"the name of one on another network", "nslookup third.shaken", false},
	} {
		out, status, err := c.Run(ctx, try.command)
		if err != nil {
			t.Fatal(err)
		}
		if works := status == 0; works != try.works {
			t.Errorf("%s: works is %v, want %v: %s", try.what, works, try.works, out)
		}
	}
	if from, _ := seen.Load().(string); !strings.HasPrefix(from, uplink+":") {
		t.Errorf("the world saw the guest as %q, want the machine's %s", from, uplink)
	}
}

// hostPorts are tried on the host; it listens on some, which the world reaches.
var hostPorts = []int{21, 22, 23, 25, 53, 80, 111, 179, 443, 2379, 3128, 4789, 5432, 5900, 8080, 9090, 13000, 13001, 16509, 16514}

// checkHostHidden scans the host from the guest.
func checkHostHidden(t *testing.T, ctx context.Context, l *lab, c *guest.Console) {
	l = l.during(t)
	l.serve(l.internet, beyond+":80", func(w http.ResponseWriter, r *http.Request) {})
	var accepted atomic.Int32
	for _, port := range []int{22, 80, 8080, 16509} {
		listener := l.listen(l.machine, fmt.Sprintf("0.0.0.0:%d", port))
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				accepted.Add(1)
				conn.Close()
			}
		}()
	}
	conn, err := dial(ctx, l.internet, uplink+":22") // the scan could find something
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for accepted.Load() == 0 { // that one is counted by a goroutine
		if ctx.Err() != nil {
			t.Fatal("nobody accepted the world's connection to the host")
		}
		time.Sleep(time.Millisecond)
	}
	before := accepted.Load()
	out, _, err := c.Run(ctx, scan("192.168.20.1", uplink)+`
		arping -c 2 -w 2 -I eth0 192.168.20.1 >/dev/null && echo FOUND arp
		ip address del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 10.0.0.1`+"\n"+
		scan("127.0.0.1")+ // the host's, through the router
		"ip route del 127.0.0.1; ip address add 127.0.0.1/8 dev lo\n"+
		scan(beyond)) // which is no part of the host: what is found there shows that the scan can
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`FOUND .*`).FindAllString(out, -1)
	if want := []string{"FOUND ping " + beyond, "FOUND " + beyond + ":80"}; !slices.Equal(found, want) || accepted.Load() != before {
		t.Errorf("%d connections to the host, found %q, want %q", accepted.Load()-before, found, want)
	}
	if scanned := strings.Count(out, "scanned"); scanned != 4 {
		t.Errorf("%d scans ran to their end, want 4: %s", scanned, out)
	}
}

// scan is a shell script that pings hosts and knocks at their ports.
func scan(hosts ...string) string {
	ports := strings.Trim(fmt.Sprint(hostPorts), "[]")
	return fmt.Sprintf(`for h in %s; do
		ping -c 1 -W 2 $h >/dev/null && echo FOUND ping $h
		for p in %s; do
			(nc -w 3 $h $p </dev/null >/dev/null 2>&1 && echo FOUND $h:$p) &
		done
		wait
		echo scanned $h
	done
	`, strings.Join(hosts, " "), ports)
}

// checkEnd deletes everything and looks for what is left.
func checkEnd(t *testing.T, ctx context.Context, l *lab) {
	if _, err := l.client.DeleteInstances(ctx, spec.System); err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.DeleteNetworks(ctx, spec.System); err != nil {
		t.Fatal(err)
	}
	l.left(t, nil, 0, 0)
	l.stop()
	cmd := l.command("--cleanup")
	if err := in(l.machine, cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("sfd --cleanup: %v", err)
	}
	out, err := l.run(l.machine, "ip", "-o", "link")
	if err != nil || strings.Count(out, "\n") != 2 || !strings.Contains(out, "up0") { // lo and the uplink
		t.Errorf("devices are left: %s, %v", out, err)
	}
}
