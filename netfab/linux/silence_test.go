//go:build linux

package linux

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Who has a deleted guest's address next does not hear what the world goes on telling it,
// be the guest here, on another host, or half deleted by a process that was killed. The
// others' conversations go on.
func TestSilence(t *testing.T) {
	c := newCluster(t, 2, 1500)
	whole := network(1, 4)
	n := whole
	n.Ports = whole.Ports[:3:3]
	n.Remote = nil
	places := []int{0, 1, 0} // of ports, by host
	desired := func(host int) netfab.Desired {
		one := n.Clone()
		d := netfab.Desired{Underlay: netfab.Underlay{Addr: vtep(host)}, Outside: outside}
		one.Ports = nil
		for i, p := range n.Ports {
			if places[i] == host {
				one.Ports = append(one.Ports, p)
			} else {
				one.Remote = append(one.Remote, netfab.Remote{MAC: p.MAC, Addr: p.Addr, VTEP: vtep(places[i])})
			}
		}
		if host != 0 {
			one.Gateway = nil
			one.Remote = append(one.Remote, netfab.Remote{MAC: n.Router.MAC, Addr: n.Router.Addr, VTEP: vtep(0)})
		}
		d.Networks = []netfab.Network{one}
		return d
	}
	apply := func() {
		t.Helper()
		for host, w := range c.hosts {
			w.apply(c.fabrics[host], desired(host))
		}
	}
	apply()
	world := listenUDP(t, c.hosts[0].internet, netip.AddrPortFrom(far.Addr(), 7).String())
	// meet has a guest send from its port 1000 until the world hears of it, and returns as
	// whom.
	meet := func(g *guest) netip.AddrPort {
		t.Helper()
		conn := listenUDP(t, g.NS, "0.0.0.0:1000")
		defer conn.Close()
		buf := make([]byte, 100)
		for end := time.Now().Add(patience); time.Now().Before(end); {
			conn.WriteToUDPAddrPort([]byte(g.addr.String()), netip.AddrPortFrom(far.Addr(), 7))
			world.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if size, from, err := world.ReadFromUDPAddrPort(buf); err == nil && string(buf[:size]) == g.addr.String() {
				return from
			}
		}
		t.Fatalf("the world never heard of %s", g.addr)
		return netip.AddrPort{}
	}
	// hears tells whether a guest's port 1000 hears what the world says.
	hears := func(g *guest, at netip.AddrPort) bool {
		t.Helper()
		conn := listenUDP(t, g.NS, "0.0.0.0:1000")
		defer conn.Close()
		ping(t, g.NS, far.Addr(), 56) // it is there
		for range 5 {
			if _, err := world.WriteToUDPAddrPort([]byte("more of it"), at); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, _, err := conn.ReadFromUDPAddrPort(make([]byte, 100)); err == nil {
				return true
			}
		}
		return false
	}
	stays := c.hosts[0].guest(c.fabrics[0], n, 2)
	goesOn := meet(stays)
	for i, test := range []struct {
		name   string
		port   int
		killed string // in this moment
	}{{"a guest here", 0, ""}, {"a guest on another host", 1, ""}, {"a half deleted guest", 0, "delete tap "}} {
		host := places[test.port]
		at := meet(c.hosts[host].guest(c.fabrics[host], n, test.port))
		gone := n.Ports[test.port]
		others := n.Ports
		n.Ports = []netfab.Port{n.Ports[2]}
		before := places
		places = []int{0}
		if test.killed != "" {
			f := c.hosts[0].fabric(Config{Tag: "cluster/0", Hook: func(what string) error {
				if strings.HasPrefix(what, test.killed) {
					return netfab.ErrAborted
				}
				return nil
			}})
			if err := f.Apply(context.Background(), desired(0)); !errors.Is(err, netfab.ErrAborted) {
				t.Fatalf("it was not killed: %v", err)
			}
			c.fabrics[0] = c.hosts[0].fabric(Config{Tag: "cluster/0"})
		}
		apply()
		n.Ports, places = others, before
		n.Ports[test.port].ID = strings.Replace(gone.ID, "10000000", "2000000"+string(rune('0'+i)), 1)
		n.Ports[test.port].MAC = strings.Replace(gone.MAC, "02:00:00", "02:00:0"+string(rune('3'+i)), 1)
		apply()
		if hears(c.hosts[host].guest(c.fabrics[host], n, test.port), at) {
			t.Errorf("%s: who has its address now hears what is for it", test.name)
		}
		if !hears(stays, goesOn) {
			t.Errorf("%s: another guest's conversation ended", test.name)
		}
	}
}
