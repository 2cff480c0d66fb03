//go:build linux

package linux

import (
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Two guests of a network reach each other, their router and a host beyond the
// NAT, where they look like the network's outside address and then the host's.
func TestTraffic(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 2)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	a, b := w.guest(f, n, 0), w.guest(f, n, 1)
	serve(t, w.internet, far.Addr(), 7)

	ping(t, a.NS, b.addr, 56)
	ping(t, b.NS, a.addr, 56)
	ping(t, a.NS, n.Router.Addr, 56)
	ping(t, a.NS, far.Addr(), 56)
	if who := whoAmI(t, a.NS, far.Addr(), 7); who != hostUplink.Addr().String() {
		t.Errorf("the internet sees %q, want the host's address %s", who, hostUplink.Addr())
	}
	ping(t, w.host, n.Gateway.Addr, 56)
}

// Networks with the same block do not meet, inside or by way of their routers.
func TestOverlap(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	one, two := network(1, 1), network(2, 2)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{one, two}})
	a, b := w.guest(f, one, 0), w.guest(f, two, 1) // 10.0.0.10 and 10.0.0.11
	ping(t, a.NS, one.Router.Addr, 56)
	ping(t, b.NS, two.Router.Addr, 56)
	ping(t, a.NS, far.Addr(), 56)
	ping(t, b.NS, far.Addr(), 56)
	if err := tryPing(a.NS, b.addr, 56, 300*time.Millisecond); err == nil {
		t.Errorf("a guest of one network reached %s of another", b.addr)
	}
}

// What a guest sends to where hosts listen for VXLAN does not get out: it could
// carry frames of any network.
func TestNoTunnel(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 1)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	g := w.guest(f, n, 0)
	serve(t, w.internet, far.Addr(), vxlanPort)
	serve(t, w.internet, far.Addr(), 7)
	if who := whoAmI(t, g.NS, far.Addr(), 7); who == "" {
		t.Fatal("nothing gets out")
	}
	conn := listenUDP(t, g.NS, "0.0.0.0:0")
	if answered(conn, netip.AddrPortFrom(far.Addr(), vxlanPort), 300*time.Millisecond) {
		t.Error("a guest reached the port of VXLAN")
	}
}
