package dhcpd

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// safety bounds waits for foreign programs; nothing is measured by it.
const safety = 60 * time.Second

// event is a call of a client's script: what happened, and its variables.
type event struct {
	what string
	vars map[string]string
}

// pick returns those of the event's variables that want names.
func (e event) pick(want map[string]string) map[string]string {
	got := map[string]string{}
	for name := range want {
		if v, ok := e.vars[name]; ok {
			got[name] = strings.TrimSpace(v)
		}
	}
	return got
}

// client is a DHCP client program in the guest's namespace.
type client struct {
	t      *testing.T
	cmd    *exec.Cmd
	events chan event
}

// script is what clients call. It does what a lease asks for and prints it.
const script = `#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
case "$1$reason" in
bound|renew) ip addr replace "$ip/$mask" dev "$interface" ;;
BOUND|RENEW|REBOOT) ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface" ;;
esac
echo "EVENT $1$reason"
env
echo "EVENT end"
`

func (l *lab) client(t *testing.T, argv ...string) *client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "SCRIPT", path)
	}
	c := &client{t: t, events: make(chan event, 100)}
	c.cmd = exec.Command("ip", append([]string{"netns", "exec", l.guest}, argv...)...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.events)
		var e *event
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			switch what, isEvent := strings.CutPrefix(line, "EVENT "); {
			case isEvent && what == "end" && e != nil:
				c.events <- *e
			case isEvent:
				e = &event{what: what, vars: map[string]string{}}
			case e != nil:
				name, value, _ := strings.Cut(line, "=")
				e.vars[name] = value
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		for range c.events {
		}
		_ = c.cmd.Wait()
	})
	return c
}

// await returns the next event of one of the given kinds.
func (c *client) await(kinds ...string) event {
	c.t.Helper()
	timeout := time.After(safety)
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				c.t.Fatalf("client ended before any of %v", kinds)
			}
			for _, kind := range kinds {
				if e.what == kind {
					return e
				}
			}
		case <-timeout:
			c.t.Fatalf("no %v from the client", kinds)
		}
	}
}

func labNetwork() Network {
	n := testNetwork()
	n.Routes = []Route{{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParseAddr("10.1.2.2")}}
	n.LeaseTime = 8 * time.Second
	return n
}

func TestUdhcpc(t *testing.T) {
	udhcpc := need.Program(t, "udhcpc", "udhcpc")
	l := newLab(t)
	s, conn := l.start(t, labNetwork(), testLeases())
	// MTU is not asked for, and told all the same.
	c := l.client(t, udhcpc, "-f", "-i", "eth0", "-s", "SCRIPT", "-O", "staticroutes")
	want := map[string]string{
		"ip": "10.1.2.10", "mask": "24", "subnet": "255.255.255.0", "router": "10.1.2.1", "broadcast": "10.1.2.255",
		"dns": "192.0.2.53 192.0.2.54", "mtu": "1450", "hostname": "web-1", "domain": "cloud.example",
		"lease": "8", "serverid": "10.1.2.1", "staticroutes": "0.0.0.0/0 10.1.2.1 172.16.0.0/12 10.1.2.2",
	}
	if diff := cmp.Diff(want, c.await("bound").pick(want)); diff != "" {
		t.Errorf("bound (-want +got):\n%s", diff)
	}
	// Asked to renew, it does so by unicast to the router's address and MAC.
	if err := c.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.await("renew").pick(want)); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
	if conn.answered.Load() == 0 {
		t.Error("no unicast renewal was answered")
	}
	if got := s.Stats(); got.Offered == 0 || got.Acked < 2 || got.Refused != 0 {
		t.Errorf("stats %+v", got)
	}
}

// A client without a lease here gets nothing, and says so.
func TestUdhcpcUnknown(t *testing.T) {
	udhcpc := need.Program(t, "udhcpc", "udhcpc")
	l := newLab(t)
	s, _ := l.start(t, labNetwork(), testLeases()[1:])
	c := l.client(t, udhcpc, "-f", "-n", "-q", "-i", "eth0", "-s", "SCRIPT", "-t", "2", "-T", "1")
	c.await("leasefail")
	if got := s.Stats(); got != (Stats{Unknown: 2}) {
		t.Errorf("stats %+v, want two unknown", got)
	}
}

const dhclientConf = `option classless-routes code 121 = array of unsigned integer 8;
also request classless-routes, interface-mtu;
timeout 30;
`

// An earlier lease of an address that is no longer ours to have.
const dhclientLease = `lease {
  interface "eth0";
  fixed-address 10.1.2.77;
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 2000000000;
  option dhcp-server-identifier 10.1.2.1;
  renew 0 2080/01/01 00:00:00;
  rebind 0 2081/01/01 00:00:00;
  expire 0 2082/01/01 00:00:00;
}
`

// dhclient starts ISC's client with a lease file of the given content.
func (l *lab) dhclient(t *testing.T, leases string) *client {
	t.Helper()
	dhclient := need.Program(t, "dhclient", "isc-dhcp-client")
	dir := t.TempDir()
	for name, content := range map[string]string{"conf": dhclientConf, "leases": leases} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return l.client(t, dhclient, "-4", "-d", "-q", "-sf", "SCRIPT", "-cf", filepath.Join(dir, "conf"),
		"-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "eth0")
}

func TestDhclient(t *testing.T) {
	l := newLab(t)
	s, conn := l.start(t, labNetwork(), testLeases())
	c := l.dhclient(t, "")
	want := map[string]string{
		"new_ip_address": "10.1.2.10", "new_subnet_mask": "255.255.255.0", "new_routers": "10.1.2.1",
		"new_broadcast_address": "10.1.2.255", "new_domain_name_servers": "192.0.2.53 192.0.2.54",
		"new_domain_name": "cloud.example", "new_host_name": "web-1", "new_interface_mtu": "1450",
		"new_dhcp_lease_time": "8", "new_dhcp_server_identifier": "10.1.2.1",
		"new_dhcp_renewal_time": "4", "new_dhcp_rebinding_time": "7",
		"new_classless_routes": "0 10 1 2 1 12 172 16 10 1 2 2",
	}
	if diff := cmp.Diff(want, c.await("BOUND").pick(want)); diff != "" {
		t.Errorf("bound (-want +got):\n%s", diff)
	}
	// It renews by itself, after half of the lease.
	if diff := cmp.Diff(want, c.await("RENEW").pick(want)); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
	if conn.answered.Load() == 0 {
		t.Error("no unicast renewal was answered")
	}
	if got := s.Stats(); got.Refused != 0 {
		t.Errorf("stats %+v", got)
	}
}

// A client that comes back with an old address is told no, and starts anew.
func TestDhclientRefused(t *testing.T) {
	l := newLab(t)
	s, _ := l.start(t, labNetwork(), testLeases())
	c := l.dhclient(t, dhclientLease)
	if got := c.await("BOUND", "REBOOT"); got.what != "BOUND" || got.vars["new_ip_address"] != "10.1.2.10" {
		t.Errorf("%s with %s", got.what, got.vars["new_ip_address"])
	}
	if got := s.Stats(); got.Refused != 1 || got.Offered == 0 || got.Acked == 0 {
		t.Errorf("stats %+v", got)
	}
}
