//go:build linux

package linux

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// Routers on three hosts are neighbours in the office. Floating addresses are
// reached from there and from guests, the owner's host included, and follow
// their router to another host, for those who know the way to the old one too.
func TestL2(t *testing.T) {
	c := newCluster(t, 3, 1500)
	o := netfab.Outside{Prefix: netip.MustParsePrefix("192.168.20.128/25"), Segment: outside.Prefix, Mode: netfab.L2, Uplink: segmentDevice, Fenced: true}
	one, two := network(1, 3), network(2, 3)
	one.Gateway.Addr, two.Gateway.Addr = netip.MustParseAddr("192.168.20.130"), netip.MustParseAddr("192.168.20.131")
	float, other := netip.MustParseAddr("192.168.20.200"), netip.MustParseAddr("192.168.20.201")
	one.Gateway.Floating = []netfab.Floating{{Outside: float, Inside: one.Ports[1].Addr}}
	two.Gateway.Floating = []netfab.Floating{{Outside: other, Inside: two.Ports[2].Addr}}
	routers := map[*netfab.Network]int{&one: 0, &two: 1}
	c.apply(same(o), routers, &one, &two)
	c.keep(time.Hour)
	guests, others := c.guests(&one), c.guests(&two)
	serve(t, guests[1].NS, guests[1].addr, 7)
	check := func() {
		t.Helper()
		office := netfab.First(outside.Prefix).String()
		for _, test := range []struct {
			name string
			got  string
			want string
		}{
			{"the office", whoAmI(t, c.office, float, 7), office},
			{"the guest itself", whoAmI(t, guests[1].NS, float, 7), one.Gateway.Addr.String()},
			{"a guest of the network on another host", whoAmI(t, guests[2].NS, float, 7), one.Gateway.Addr.String()},
			{"a guest of another network", whoAmI(t, others[0].NS, float, 7), two.Gateway.Addr.String()},
			{"the other floating address", whoAmI(t, others[2].NS, float, 7), other.String()},
		} {
			if test.got != test.want {
				t.Errorf("%s is seen as %q, want %q", test.name, test.got, test.want)
			}
		}
		ping(t, guests[0].NS, netfab.First(outside.Prefix), 56)
		ping(t, c.office, other, 56)
	}
	check()
	routers[&one], routers[&two] = 2, 0
	c.apply(same(o), routers, &one, &two)
	check()

	// A host whose agent is stopped loses its routers to another that starts: the
	// office hears from one of them only.
	if err := c.fabrics[2].Keep(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if err := tryPing(c.office, float, 56, 300*time.Millisecond); err == nil {
		t.Error("a router that is not kept answers")
	}
	routers[&one] = 1
	for i := range 2 { // the third host never hears of it
		c.hosts[i].apply(c.fabrics[i], c.desired(i, o, routers, &one, &two))
	}
	ping(t, c.office, float, 56)
	ping(t, guests[0].NS, netfab.First(outside.Prefix), 56)
}

// keep keeps the routers of all hosts.
func (c *cluster) keep(d time.Duration) {
	c.Helper()
	for _, f := range c.fabrics {
		if err := f.Keep(context.Background(), d); err != nil {
			c.Fatal(err)
		}
	}
}

// A device in use is not taken, and one that was taken is given back.
func TestL2Uplink(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	before := w.text()
	for _, test := range []struct {
		uplink string
		err    error
	}{{"eth0", netfab.ErrInvalid}, {"lan0", netfab.ErrInvalid}, {"none0", netfab.ErrInvalid}} {
		err := f.Apply(context.Background(), netfab.Desired{Outside: netfab.Outside{Prefix: outside.Prefix, Mode: netfab.L2, Uplink: test.uplink}})
		if !errors.Is(err, test.err) {
			t.Errorf("uplink %s: %v, want %v", test.uplink, err, test.err)
		}
		t.Log(err)
	}
	w.apply(f, netfab.Desired{})
	if after := w.text(); after != before {
		t.Errorf("left on the host:\n%s", after)
	}
	h := w.conn(w.host)
	w.do(h, rt.AddLink(rt.Link{Index: 30, Name: "spare0", Up: true}, rt.Veth(rt.Link{Name: "spare1"}, w.internet.Fd()), 0)...)
	spare := func() rt.Link {
		l, err := h.Link("spare0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l2 := netfab.Outside{Prefix: outside.Prefix, Mode: netfab.L2, Uplink: "spare0"}
	for _, next := range []netfab.Outside{outside, {}} {
		w.apply(f, netfab.Desired{Outside: l2})
		if spare().Master == 0 {
			t.Error("the uplink is no port of the segment")
		}
		w.apply(f, netfab.Desired{Outside: next})
		if spare().Master != 0 {
			t.Errorf("the uplink was not given back to %q", next)
		}
	}
}

// The world routes the block to one address, which the edge has. Routers are on
// other hosts. The edge moves: connections go on, and the old one, which is
// stopped and knows nothing of it, is silent.
func TestRouted(t *testing.T) {
	c := newCluster(t, 3, 1500)
	edge := 0
	outsides := func(host int) netfab.Outside {
		o := netfab.Outside{Prefix: netip.MustParsePrefix("192.168.30.0/24"), Mode: netfab.Routed, VNI: 0x77, Fenced: true, Uplink: segmentDevice,
			EdgeAddr: netip.MustParsePrefix("192.168.20.40/24"), Edge: host == edge}
		for i := range c.hosts {
			if i != host {
				o.Peers = append(o.Peers, vtep(i))
			}
		}
		return o
	}
	one, two := network(1, 3), network(2, 3)
	one.Gateway.Addr, two.Gateway.Addr = netip.MustParseAddr("192.168.30.9"), netip.MustParseAddr("192.168.30.10")
	float := netip.MustParseAddr("192.168.30.200")
	one.Gateway.Floating = []netfab.Floating{{Outside: float, Inside: one.Ports[0].Addr}}
	routers := map[*netfab.Network]int{&one: 1, &two: 0}
	office := c.hosts[0].conn(c.office)
	c.hosts[0].do(office, rt.AddRoute(netip.MustParsePrefix("192.168.30.0/24"), netip.MustParseAddr("192.168.20.40"), 10))
	c.keep(time.Hour)
	c.apply(outsides, routers, &one, &two)
	guests, others := c.guests(&one), c.guests(&two)
	first := netfab.First(outside.Prefix) // the machine in the office
	serve(t, c.office, first, 7)
	serve(t, guests[0].NS, guests[0].addr, 7)
	flow := listenUDP(t, guests[2].NS, "0.0.0.0:0")
	check := func() {
		t.Helper()
		for _, test := range []struct {
			name, got, want string
		}{
			{"the office at a floating address", whoAmI(t, c.office, float, 7), first.String()},
			{"a guest in the office", whoAmI(t, guests[1].NS, first, 7), one.Gateway.Addr.String()},
			{"the floating address in the office", whoAmI(t, guests[0].NS, first, 7), float.String()},
			{"the guest itself", whoAmI(t, guests[0].NS, float, 7), one.Gateway.Addr.String()},
			{"another network in the office", whoAmI(t, others[1].NS, first, 7), two.Gateway.Addr.String()},
			{"another network", whoAmI(t, others[2].NS, float, 7), two.Gateway.Addr.String()},
		} {
			if test.got != test.want {
				t.Errorf("%s is seen as %q, want %q", test.name, test.got, test.want)
			}
		}
		if !answered(flow, netip.AddrPortFrom(first, 7), patience) {
			t.Error("a connection broke")
		}
		ping(t, guests[1].NS, first, 1450-28)
	}
	check()
	edge = 2
	c.apply(outsides, routers, &one, &two)
	check()
	routers[&one] = 0
	c.apply(outsides, routers, &one, &two)
	flow = listenUDP(t, guests[2].NS, "0.0.0.0:0") // those over a router end with it
	check()

	if err := c.fabrics[2].Keep(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if err := tryPing(c.office, float, 56, 300*time.Millisecond); err == nil {
		t.Error("an edge that is not kept forwards")
	}
	c.hosts[0].do(office, rt.DelNeighbour(rt.Neighbour{Link: 10, Addr: netip.MustParseAddr("192.168.20.40")}))
	if err := tryPing(c.office, netip.MustParseAddr("192.168.20.40"), 56, 300*time.Millisecond); err == nil {
		t.Error("an edge that is not kept answers ARP outside")
	}
	edge = 1
	for i := range 2 {
		c.hosts[i].apply(c.fabrics[i], c.desired(i, outsides(i), routers, &one, &two))
	}
	ping(t, c.office, float, 56)
	ping(t, guests[1].NS, first, 56)
}
