//go:build linux

package linux

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// Two hosts share two networks with one block: guests of a network reach each
// other across, and their router on one of the hosts, and no broadcast crosses
// for it.
func TestMesh(t *testing.T) {
	w := newWorld(t)
	// The second host is a world of its own; the underlay is a cable between both.
	w2 := newWorld(t)
	left, right := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")
	c1, c2 := w.conn(w.host), w.conn(w2.host)
	w.do(c1, rt.AddLink(rt.Link{Index: 9, Name: "cable", Up: true}, rt.Veth(rt.Link{Index: 9, Name: "cable"}, w2.host.Fd()), 0)...)
	w.do(c2, rt.SetLink(rt.Link{Index: 9, Name: "cable", Up: true}), rt.AddAddr(9, netip.PrefixFrom(right, 24)))
	w.do(c1, rt.AddAddr(9, netip.PrefixFrom(left, 24)))

	f1, f2 := w.fabric(Config{Tag: "mesh/1"}), w2.fabric(Config{Tag: "mesh/2"})
	var here, there netfab.Desired
	here.Underlay.Addr, there.Underlay.Addr = left, right
	here.Outside, there.Outside = outside, outside
	for i := range 2 { // port 0 is here, port 1 there, the router here
		n := network(i+1, 2)
		a, b := n.Clone(), n.Clone()
		a.Ports, b.Ports = n.Ports[:1], n.Ports[1:]
		b.Gateway = nil
		a.Remote = []netfab.Remote{{MAC: n.Ports[1].MAC, Addr: n.Ports[1].Addr, VTEP: right}}
		b.Remote = []netfab.Remote{
			{MAC: n.Ports[0].MAC, Addr: n.Ports[0].Addr, VTEP: left},
			{MAC: n.Router.MAC, Addr: n.Router.Addr, VTEP: left},
		}
		here.Networks, there.Networks = append(here.Networks, a), append(there.Networks, b)
	}
	w.apply(f1, here)
	w2.apply(f2, there)
	guests := map[*guest]*guest{}
	for i := range 2 {
		guests[w.guest(f1, here.Networks[i], 0)] = w2.guest(f2, there.Networks[i], 0)
	}
	capture := sniff(t, w.host, "cable")
	for a, b := range guests {
		ping(t, a.NS, b.addr, 1450-28)
		ping(t, b.NS, a.addr, 56)
		ping(t, b.NS, network(1, 0).Router.Addr, 56)
		ping(t, b.NS, far.Addr(), 56)
	}
	crossed := 0
	for _, p := range capture() {
		if p[23] != unix.IPPROTO_UDP || len(p) < 64 {
			continue
		}
		crossed++
		if inner := p[14+20+8+8:]; inner[0]&1 != 0 {
			t.Errorf("a broadcast crossed: % x", inner)
		}
	}
	if crossed == 0 {
		t.Error("nothing crossed the cable: the test proves nothing")
	}
}
