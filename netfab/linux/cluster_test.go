//go:build linux

package linux

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// cluster is some hosts with an underlay and a segment that is the same for all:
// the office's network, where a machine has the first address.
type cluster struct {
	*testing.T
	hosts   []*world
	fabrics []*Fabric
	office  *netns.NS // with the switches of both
}

// Devices of each host.
const underDevice, segmentDevice = "under0", "seg0"

func newCluster(t *testing.T, hosts, mtu int) *cluster {
	t.Helper()
	c := &cluster{T: t}
	for range hosts {
		c.hosts = append(c.hosts, newWorld(t))
	}
	c.office = newNS(t)
	office := c.hosts[0].conn(c.office)
	for i, name := range []string{"office", "underlay"} {
		c.hosts[0].do(office, rt.AddLink(rt.Link{Index: uint32(10 + i), Name: name, Up: true}, &rt.Bridge{}, 0)...)
	}
	c.hosts[0].do(office, rt.AddAddr(10, netip.PrefixFrom(netfab.First(outside.Prefix), outside.Prefix.Bits())))
	for i, w := range c.hosts {
		h := w.conn(w.host)
		for j, device := range []string{segmentDevice, underDevice} {
			port := rt.Link{Index: uint32(20 + 10*j + i), Name: fmt.Sprintf("%s-%d", device, i)}
			w.do(h, rt.AddLink(rt.Link{Index: uint32(20 + j), Name: device, MTU: mtu, Up: true}, rt.Veth(port, c.office.Fd()), 0)...)
			w.do(office, rt.SetLink(rt.Link{Index: port.Index, Name: port.Name, Master: uint32(10 + j), MTU: mtu, Up: true}))
		}
		w.do(h, rt.AddAddr(21, netip.PrefixFrom(vtep(i), 24)))
		c.fabrics = append(c.fabrics, w.fabric(Config{Tag: fmt.Sprintf("cluster/%d", i)}))
	}
	return c
}

// vtep is a host's underlay address.
func vtep(host int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + host)}) }

// desired is a host's fabric of networks that have port i on host i, with the
// router of each on a host.
func (c *cluster) desired(host int, o netfab.Outside, routers map[*netfab.Network]int, networks ...*netfab.Network) netfab.Desired {
	d := netfab.Desired{Underlay: netfab.Underlay{Addr: vtep(host)}, Outside: o}
	for _, whole := range networks {
		n := whole.Clone()
		n.Ports = nil
		for i, p := range whole.Ports {
			if i == host {
				n.Ports = []netfab.Port{p}
			} else {
				n.Remote = append(n.Remote, netfab.Remote{MAC: p.MAC, Addr: p.Addr, VTEP: vtep(i)})
			}
		}
		if at := routers[whole]; at != host {
			n.Gateway = nil
			n.Remote = append(n.Remote, netfab.Remote{MAC: n.Router.MAC, Addr: n.Router.Addr, VTEP: vtep(at)})
		}
		d.Networks = append(d.Networks, n)
	}
	return d
}

// apply applies to all hosts.
func (c *cluster) apply(outsides func(host int) netfab.Outside, routers map[*netfab.Network]int, networks ...*netfab.Network) {
	c.Helper()
	for i, w := range c.hosts {
		w.apply(c.fabrics[i], c.desired(i, outsides(i), routers, networks...))
	}
}

// guests opens the guests of a network, one on each host.
func (c *cluster) guests(n *netfab.Network) (guests []*guest) {
	for i, w := range c.hosts {
		guests = append(guests, w.guest(c.fabrics[i], *n, i))
	}
	return guests
}

func same(o netfab.Outside) func(int) netfab.Outside { return func(int) netfab.Outside { return o } }
