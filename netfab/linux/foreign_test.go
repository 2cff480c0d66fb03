//go:build linux

package linux

import (
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// neighbour is a machine behind the host's bridge lan0, a container of somebody else's.
var neighbour = netip.MustParsePrefix("172.30.0.9/24")

func (w *world) neighbour() *netns.NS {
	w.t.Helper()
	ns := newNS(w.t)
	h, c := w.conn(w.host), w.conn(ns)
	w.do(h, rt.AddLink(rt.Link{Name: "container", Master: 3, Up: true}, rt.Veth(rt.Link{Index: 2, Name: "eth0"}, ns.Fd()), 0)...)
	w.do(c, rt.SetLink(rt.Link{Name: "lo", Up: true}), rt.SetLink(rt.Link{Index: 2, Name: "eth0", Up: true}), rt.AddAddr(2, neighbour),
		rt.SetDefault(2, hostLocal.Addr()))
	return ns
}

// What lets guests out through a firewall that drops what is forwarded lets them to
// the world, and not to what that firewall shields: machines behind a bridge of the
// host's own. Where such a bridge leads to the world, it is the world.
func TestForeignStaysShielded(t *testing.T) {
	nftPath := need.Program(t, "nft", "nftables")
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 1)
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{n}}
	w.apply(f, want)
	serve(t, w.neighbour(), neighbour.Addr(), 7)
	g := w.guest(f, n, 0)
	reached := func(wait time.Duration) bool { // by a conversation that begins now
		conn := listenUDP(t, g.NS, "0.0.0.0:0")
		defer conn.Close()
		return answered(conn, netip.AddrPortFrom(neighbour.Addr(), 7), wait)
	}
	ping(t, g.NS, far.Addr(), 56)
	if !reached(patience) {
		t.Fatal("nobody shields it, and it is not reached")
	}
	w.nft(nftPath, "-f", "-", `table ip filter {
		chain FORWARD {
			type filter hook forward priority filter; policy drop;
			iifname "lan0" oifname != "lan0" accept
			oifname "lan0" ct state established,related accept
		}
	}`)
	w.apply(f, want)
	ping(t, g.NS, far.Addr(), 57)
	if reached(300 * time.Millisecond) {
		t.Error("a guest reached what somebody else's firewall shields")
	}
	h := w.conn(w.host)
	w.do(h, rt.SetDefault(3, neighbour.Addr()))
	w.apply(f, want)
	if !reached(patience) {
		t.Error("the world is behind the bridge, and not reached")
	}
	w.do(h, rt.SetDefault(2, firstHop.Addr()))
	w.apply(f, want)
	ping(t, g.NS, far.Addr(), 59)
	if reached(300 * time.Millisecond) {
		t.Error("a guest reached what is shielded, and was the world once")
	}
}
