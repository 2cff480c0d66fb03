//go:build linux

package linux

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/netfab/netfabtest"
)

// routes asks the suite's router whether it answers the host outside. No answer
// takes a moment to be believed.
func (w *world) routes() bool {
	return tryPing(w.host, netfabtest.Broken().Networks[0].Gateway.Addr, 56, 700*time.Millisecond) == nil
}

// A router that nobody keeps stops by itself: for connections that exist, for
// its floating address, and for ARP; and goes on when it is kept again.
func TestFence(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 2)
	float := netip.MustParseAddr("192.168.20.100")
	n.Gateway.Floating = []netfab.Floating{{Outside: float, Inside: n.Ports[0].Addr}}
	guarded := outside
	guarded.Fenced = true
	w.apply(f, netfab.Desired{Outside: guarded, Networks: []netfab.Network{n}})
	keep := func(d time.Duration) {
		t.Helper()
		if err := f.Keep(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
	keep(time.Hour)
	w.do(w.conn(w.internet), rt.AddRoute(outside.Prefix, hostUplink.Addr(), 2))
	a, b := w.guest(f, n, 0), w.guest(f, n, 1)
	serve(t, w.internet, far.Addr(), 7)
	flow := listenUDP(t, b.NS, "0.0.0.0:0") // a connection that exists
	works := func() {
		t.Helper()
		ping(t, b.NS, far.Addr(), 56)
		ping(t, w.internet, float, 56)
		if !answered(flow, netip.AddrPortFrom(far.Addr(), 7), patience) {
			t.Error("the connection is stuck")
		}
	}
	works()

	const last = 1500 * time.Millisecond
	start := time.Now()
	keep(last)
	works()
	// No answer before it is to stop may be one that a busy machine has not given yet.
	answers := func(within time.Duration) bool { return tryPing(w.internet, float, 56, within) == nil }
	for answers(100*time.Millisecond) || time.Since(start) < last && answers(700*time.Millisecond) {
		if time.Since(start) > last+patience {
			t.Fatalf("the router goes on %v after it was to stop", time.Since(start)-last)
		}
	}
	if stopped := time.Since(start); stopped < last {
		t.Errorf("the router stopped after %v, kept for %v", stopped, last)
	}
	if err := tryPing(b.NS, far.Addr(), 56, 300*time.Millisecond); err == nil {
		t.Error("a guest gets out")
	}
	if answered(flow, netip.AddrPortFrom(far.Addr(), 7), 300*time.Millisecond) {
		t.Error("a connection that existed goes on")
	}
	capture := sniffAll(t, w.host, f.names.outside())
	c := w.conn(w.host)
	w.do(c, rt.DelNeighbour(rt.Neighbour{Link: w.index(c, f.names.outside()), Addr: float})) // so that the host asks
	if err := tryPing(w.host, float, 56, 300*time.Millisecond); err == nil {
		t.Error("the router answers the host")
	}
	if heard := capture(); len(heard) > 0 {
		t.Errorf("the router spoke outside: % x", heard[0])
	}
	ping(t, b.NS, a.addr, 56) // guests among themselves are not concerned
	ping(t, b.NS, n.Router.Addr, 56)

	keep(time.Hour)
	works()
}
