//go:build linux

package linux

import (
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Guests in mode local reach the world by way of their router's host and none of the
// other hosts by that, not even in a conversation from before these were known. Hosts
// reach each other.
func TestPeers(t *testing.T) {
	c := newCluster(t, 3, 1500)
	n := network(1, 3)
	routers := map[*netfab.Network]int{&n: 0}
	alone := same(outside)
	c.apply(alone, routers, &n)
	guests := c.guests(&n)
	for host, w := range c.hosts[1:] {
		serve(t, w.host, vtep(host+1), 7)
	}
	serve(t, c.hosts[0].internet, far.Addr(), 7)
	server := func(host int) netip.AddrPort { return netip.AddrPortFrom(vtep(host), 7) }
	flow := listenUDP(t, guests[0].NS, "0.0.0.0:0")
	if !answered(flow, server(1), patience) {
		t.Fatal("no guest reaches another host in any case: the test proves nothing")
	}
	c.apply(func(host int) netfab.Outside {
		o := outside
		for i := range c.hosts {
			if i != host {
				o.Peers = append(o.Peers, vtep(i))
			}
		}
		return o
	}, routers, &n)
	const wait = 300 * time.Millisecond
	for i, g := range guests { // wherever they are
		for host := range c.hosts {
			if answered(listenUDP(t, g.NS, "0.0.0.0:0"), server(host), wait) {
				t.Errorf("guest %d reaches host %d", i, host)
			}
		}
		if got := whoAmI(t, g.NS, far.Addr(), 7); got != hostUplink.Addr().String() {
			t.Errorf("the world takes guest %d for %q", i, got)
		}
	}
	if answered(flow, server(1), wait) {
		t.Error("a conversation with a host goes on")
	}
	if got := whoAmI(t, c.hosts[0].host, vtep(1), 7); got != vtep(0).String() {
		t.Errorf("a host takes another for %q", got)
	}
	c.apply(alone, routers, &n)
	if !answered(flow, server(1), patience) {
		t.Error("what is no host's any more is not reached")
	}
}
