//go:build linux

package linux

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/dhcpd/dns"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Guests ask the router's address for names and are answered on their own host,
// by UDP and TCP, wherever the router is, and while it moves. Nothing of it
// crosses the mesh.
func TestNames(t *testing.T) {
	dig := need.Program(t, "dig", "bind9-dnsutils")
	c := newCluster(t, 2, 1500)
	n := network(1, 2)
	n.DNS = true
	routers := map[*netfab.Network]int{&n: 0}
	c.apply(same(outside), routers, &n)
	guests := c.guests(&n)
	for i, f := range c.fabrics {
		// Each host's server says which it is.
		serveNames(t, f, n, []dns.Host{{Name: "web", Addr: n.Ports[0].Addr}, {Name: "here", Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}})
	}
	var captures []func() [][]byte
	for _, w := range c.hosts {
		captures = append(captures, sniff(t, w.host, underDevice))
	}
	check := func() {
		t.Helper()
		for i, g := range guests {
			for _, proto := range []string{"+notcp", "+tcp"} {
				for question, want := range map[string]string{
					"web": "10.0.0.10", "web.lan": "10.0.0.10", "-x 10.0.0.10": "web.lan.", "nobody": "",
					"here": netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String(),
				} {
					args := append([]string{"@" + n.Router.Addr.String(), proto, "+short", "+time=2", "+tries=2"}, strings.Fields(question)...)
					if got := strings.TrimSpace(inside(t, g.NS, dig, args...)); got != want {
						t.Errorf("guest %d, %s %s: %q, want %q", i, proto, question, got, want)
					}
				}
			}
			ping(t, g.NS, n.Router.Addr, 56)
		}
	}
	check()
	routers[&n] = 1
	c.apply(same(outside), routers, &n)
	check()
	for _, capture := range captures {
		for _, p := range capture() {
			if inner := p[min(len(p), 14+20+8+8):]; len(inner) > 38 && (inner[23] == 17 || inner[23] == 6) && (inner[36] == 0 && inner[37] == 53 || inner[34] == 0 && inner[35] == 53) {
				t.Fatalf("a question crossed the mesh: % x", inner)
			}
		}
	}
	// The other host's end of the network serves nothing else, and who asks for
	// something else is not turned there.
	w := c.hosts[0]
	l := listenUDP(t, roomOf(t, c.fabrics[0], n), "0.0.0.0:7")
	defer l.Close()
	if answered(listenUDP(t, guests[0].NS, "0.0.0.0:0"), netip.AddrPortFrom(n.Router.Addr, 7), 200*time.Millisecond) {
		t.Error("another port of the router's address is served")
	}
	bridge, err := w.conn(roomOf(t, c.fabrics[0], n)).Link(bridgeName)
	if err != nil {
		t.Fatal(err)
	}
	me := n.Ports[0]
	wire{t, guests[0].port}.send(ether(bridge.MAC.String(), me.MAC, 0x0800, udp(me.Addr, n.Router.Addr, 9, 7, "by hand")))
	ping(t, guests[0].NS, guests[1].addr, 58)
	l.SetReadDeadline(time.Now())
	if size, _, err := l.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("a frame of %d bytes for the host's own end of the network got there", size)
	}
}

// serveNames runs a network's DNS server on a host, until its network is gone.
func serveNames(t *testing.T, f *Fabric, n netfab.Network, hosts []dns.Host) (ended chan error) {
	t.Helper()
	packets, conns, err := f.Listen(context.Background(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	s := dns.NewServer(dns.Config{}, dns.NewTable(dns.Network{Name: "lan", Prefix: n.Prefix}, hosts))
	ended = make(chan error, 2)
	go func() { ended <- s.ServeUDP(context.Background(), packets) }()
	go func() { ended <- s.ServeTCP(context.Background(), conns) }()
	return ended
}

// inside runs a program in a namespace.
func inside(t *testing.T, ns *netns.NS, program string, args ...string) (out string) {
	t.Helper()
	if err := ns.Do(func() error {
		b, err := runHere(exec.Command(program, args...))
		out = string(b)
		return err
	}); err != nil {
		t.Errorf("%s %v: %v: %s", program, args, err, out)
	}
	return out
}

// roomOf opens a network's namespace.
func roomOf(t *testing.T, f *Fabric, n netfab.Network) *netns.NS {
	t.Helper()
	ns, err := netns.Open(f.path(n.VNI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// What was opened ends with its network, and with its DNS; what is not there is
// not opened.
func TestListenEnds(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 1)
	listen := func() error { _, _, err := f.Listen(context.Background(), n.ID); return err }
	if err := listen(); !errors.Is(err, netfab.ErrNotFound) {
		t.Errorf("no network: %v", err)
	}
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	if err := listen(); !errors.Is(err, netfab.ErrNotFound) {
		t.Errorf("a network without DNS: %v", err)
	}
	n.DNS = true
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	ended := serveNames(t, f, n, nil)
	if err := listen(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("a second server: %v", err)
	}
	w.apply(f, netfab.Desired{})
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
}

// Guests of a network without a router have names too, and nothing else there.
func TestNamesIsolated(t *testing.T) {
	dig := need.Program(t, "dig", "bind9-dnsutils")
	c := newCluster(t, 2, 1500)
	n := network(1, 2)
	n.DNS, n.Isolated, n.Gateway = true, true, nil
	for i, w := range c.hosts {
		d := c.desired(i, netfab.Outside{}, nil, &n)
		d.Networks[0].Remote = d.Networks[0].Remote[:1] // without the router
		w.apply(c.fabrics[i], d)
		serveNames(t, c.fabrics[i], n, []dns.Host{{Name: "here", Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}})
	}
	guests := c.guests(&n)
	for i, g := range guests {
		for _, proto := range []string{"+notcp", "+tcp"} {
			want := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()
			if got := strings.TrimSpace(inside(t, g.NS, dig, "@"+n.Router.Addr.String(), proto, "+short", "+time=2", "+tries=2", "here")); got != want {
				t.Errorf("guest %d, %s: %q, want %q", i, proto, got, want)
			}
		}
		if err := tryPing(g.NS, n.Router.Addr, 56, 200*time.Millisecond); err == nil {
			t.Error("there is no router, and it answers")
		}
	}
	ping(t, guests[0].NS, guests[1].addr, 1450-28)
}

// Where no router is, what is sent to this host's ends of the network by their own MACs
// gets no answer either: not from the bridge, nor from the near side of the guest's port.
func TestEndsAreSilent(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	alone, away := network(1, 2), network(2, 2)
	alone.DNS, alone.Isolated, alone.Gateway = true, true, nil
	away.DNS, away.Gateway = true, nil
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{alone, away}})
	for _, n := range []netfab.Network{alone, away} {
		me, other := n.Ports[0], n.Ports[1]
		a, b := wire{t, w.openPort(f, n, 0)}, wire{t, w.openPort(f, n, 1)}
		marker := ether(broadcastMAC, other.MAC, 0x0800, udp(other.Addr, everybody, 1, 2, "MARKER"))
		settle(b, a, marker, "MARKER")
		for _, end := range []string{tapMAC(me).String(), tapMAC(other).String(), bridgeMAC(&n).String(), "01:80:c2:00:00:0e", broadcastMAC} {
			for _, packet := range [][]byte{
				ipv4(1, me.Addr, n.Router.Addr, nil, echo(8, []byte("PROBE"))),
				udp(me.Addr, n.Router.Addr, 9, 7, "PROBE"),
			} {
				a.send(ether(end, me.MAC, 0x0800, packet))
				b.send(marker)
				if arrived := a.until("MARKER", patience); len(arrived) != 1 {
					t.Errorf("network %d, to %s: answered by % x", n.VNI, end, arrived[0])
				}
			}
		}
	}
}
