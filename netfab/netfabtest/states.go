package netfabtest

import (
	"fmt"
	"net/netip"

	"github.com/shakenfist/cloud/netfab"
)

// Network returns network number i (1 to 200) with some ports. All have the same
// block, since networks may overlap.
func Network(i, ports int) netfab.Network {
	n := netfab.Network{
		ID: fmt.Sprintf("5f000000-0000-4000-8000-%012x", i), VNI: uint32(0x5f0000 + i), MTU: 1450,
		Prefix:  netip.MustParsePrefix("10.11.0.0/24"),
		Router:  netfab.Router{Addr: netip.MustParseAddr("10.11.0.1"), MAC: fmt.Sprintf("02:5f:01:00:00:%02x", i)},
		Gateway: &netfab.Gateway{Addr: netip.AddrFrom4([4]byte{192, 168, 77, byte(2 + i)}), NAT: true},
	}
	for p := range ports {
		n.Ports = append(n.Ports, netfab.Port{
			ID:   fmt.Sprintf("9f000000-%04x-4000-8000-%012x", i, p),
			MAC:  fmt.Sprintf("02:5f:00:00:%02x:%02x", i, p+2),
			Addr: netip.AddrFrom4([4]byte{10, 11, 0, byte(2 + p)}),
		})
	}
	return n
}

// Broken is the fabric that Host.Breaks damage: one network with a router, a
// floating address and two ports, and another network.
func Broken() netfab.Desired {
	n := Network(1, 2)
	n.Gateway.Floating = []netfab.Floating{float(201, n.Ports[0])}
	d := desired(n, Network(2, 1))
	d.Outside.Peers = []netip.Addr{netip.MustParseAddr("198.18.0.9")}
	return d
}

// desired is a fabric of some networks.
func desired(networks ...netfab.Network) netfab.Desired {
	return netfab.Desired{
		Outside:  netfab.Outside{Prefix: netip.MustParsePrefix("192.168.77.0/24")},
		Networks: networks,
	}
}

// float leads the outside's address with that last byte to a port.
func float(last byte, p netfab.Port) netfab.Floating {
	return netfab.Floating{Outside: netip.AddrFrom4([4]byte{192, 168, 77, last}), Inside: p.Addr}
}

// state is one fabric of a sequence.
type state struct {
	name string
	want netfab.Desired
}

// states is a sequence of fabrics, each a change or two from the one before.
func states(underlay netip.Addr) []state {
	base := Network(1, 2)
	with := func(change func(*netfab.Network)) netfab.Network {
		n := base.Clone()
		change(&n)
		return n
	}
	floating := with(func(n *netfab.Network) {
		n.Gateway.Floating = []netfab.Floating{float(201, n.Ports[0]), float(202, n.Ports[1])}
	})
	list := []state{
		{"the outside alone", desired()},
		{"a network without ports", desired(Network(1, 0))},
		{"ports come", desired(base)},
		{"another network", desired(base, Network(2, 1))},
		{"a port goes", desired(Network(1, 1), Network(2, 1))},
		{"a port changes its MAC and address", desired(with(func(n *netfab.Network) {
			n.Ports[0].MAC, n.Ports[0].Addr = "02:5f:00:00:99:99", netip.MustParseAddr("10.11.0.99")
		}))},
		{"a port loses its address", desired(with(func(n *netfab.Network) { n.Ports[0].Addr = netip.Addr{} }))},
		{"two ports change places", desired(with(func(n *netfab.Network) {
			n.Ports[0].Addr, n.Ports[1].Addr = n.Ports[1].Addr, n.Ports[0].Addr
		}))},
		{"floating addresses", desired(floating)},
		{"floating addresses change places", desired(with(func(n *netfab.Network) {
			n.Gateway.Floating = []netfab.Floating{float(202, n.Ports[0]), float(201, n.Ports[1])}
		}))},
		{"a floating address moves to another network", desired(with(func(n *netfab.Network) {}), func() netfab.Network {
			n := Network(2, 1)
			n.Gateway.Floating = []netfab.Floating{float(201, n.Ports[0])}
			return n
		}())},
		{"and back", desired(with(func(n *netfab.Network) {
			n.Gateway.Floating = []netfab.Floating{float(201, n.Ports[0])}
		}), Network(2, 1))},
		{"names", desired(with(func(n *netfab.Network) { n.DNS = true }), Network(2, 1))},
		{"names without a router", desired(with(func(n *netfab.Network) { n.DNS, n.Isolated, n.Gateway = true, true, nil }), Network(2, 1))},
		{"isolated", desired(with(func(n *netfab.Network) { n.Isolated, n.Gateway = true, nil }), Network(2, 1))},
		{"no NAT", desired(with(func(n *netfab.Network) { n.Gateway.NAT = false }))},
		{"another outside address", desired(with(func(n *netfab.Network) {
			n.Gateway.Addr = netip.MustParseAddr("192.168.77.199")
		}))},
		{"the router goes", desired(with(func(n *netfab.Network) { n.Gateway = nil }))},
		{"the router comes back, with floating addresses", desired(floating)},
		{"another MTU", desired(with(func(n *netfab.Network) { n.MTU = 1400 }))},
		{"another block", desired(with(func(n *netfab.Network) {
			n.Prefix, n.Router.Addr = netip.MustParsePrefix("10.11.0.0/16"), netip.MustParseAddr("10.11.255.1")
		}))},
		{"another router MAC", desired(with(func(n *netfab.Network) { n.Router.MAC = "02:5f:01:00:77:77" }))},
		{"another VNI", desired(with(func(n *netfab.Network) { n.VNI++ }))},
		{"another network under the same VNI", desired(with(func(n *netfab.Network) { n.ID, n.VNI = Network(3, 0).ID, n.VNI+1 }))},
		{"another outside block", otherOutside(base)},
		{"hosts that guests do not reach", apart("198.18.0.2", "198.18.0.3")},
		{"others", apart("198.18.0.4", "198.18.0.3")},
		{"a fenced outside", fenced(floating)},
		{"and not any more", desired(base)},
		{"no outside", netfab.Desired{Networks: []netfab.Network{with(func(n *netfab.Network) { n.Gateway = nil })}}},
	}
	if underlay.IsValid() {
		list = append(list, meshStates(underlay, with)...)
	}
	return append(list, state{"nothing", netfab.Desired{}})
}

// fenced is a fabric whose routers work only while they are kept.
func fenced(networks ...netfab.Network) netfab.Desired {
	d := desired(networks...)
	d.Outside.Fenced = true
	return d
}

// apart is a fabric whose guests do not reach other hosts.
func apart(peers ...string) netfab.Desired {
	d := desired(Network(1, 1))
	for _, p := range peers {
		d.Outside.Peers = append(d.Outside.Peers, netip.MustParseAddr(p))
	}
	return d
}

func otherOutside(n netfab.Network) netfab.Desired {
	n = n.Clone()
	n.Gateway.Addr = netip.MustParseAddr("192.168.78.9")
	return netfab.Desired{Outside: netfab.Outside{Prefix: netip.MustParsePrefix("192.168.78.0/24")}, Networks: []netfab.Network{n}}
}

// meshStates are those with guests on other hosts.
func meshStates(underlay netip.Addr, with func(func(*netfab.Network)) netfab.Network) []state {
	remote := func(i int, vtep string) netfab.Remote {
		return netfab.Remote{
			MAC: fmt.Sprintf("02:5f:02:00:00:%02x", i), Addr: netip.AddrFrom4([4]byte{10, 11, 0, byte(100 + i)}),
			VTEP: netip.MustParseAddr(vtep),
		}
	}
	meshed := func(remotes ...netfab.Remote) netfab.Desired {
		d := desired(with(func(n *netfab.Network) { n.MTU, n.Remote = 1400, remotes }), Network(2, 1))
		d.Networks[1].MTU = 1400
		d.Underlay.Addr = underlay
		return d
	}
	bare := remote(3, "198.18.0.3")
	bare.Addr = netip.Addr{}
	routed := func(vtep string) netfab.Desired { // the router of the first network is elsewhere
		d := meshed(remote(1, "198.18.0.2"))
		n := &d.Networks[0]
		n.Gateway = nil
		n.Remote = append(n.Remote, netfab.Remote{MAC: n.Router.MAC, Addr: n.Router.Addr, VTEP: netip.MustParseAddr(vtep)})
		return d
	}
	named := func(d netfab.Desired) netfab.Desired {
		d.Networks[0].DNS = true
		return d
	}
	shared := func(edge bool, peers ...string) netfab.Desired {
		d := meshed(remote(1, "198.18.0.2"))
		d.Outside.Mode, d.Outside.VNI, d.Outside.Edge, d.Outside.Fenced = netfab.Routed, 0x5fffff, edge, true
		for _, p := range peers {
			d.Outside.Peers = append(d.Outside.Peers, netip.MustParseAddr(p))
		}
		return d
	}
	return []state{
		{"a mesh without others", meshed()},
		{"a router on another host", routed("198.18.0.2")},
		{"it moves", routed("198.18.0.3")},
		{"names", named(routed("198.18.0.3"))},
		{"the router comes here", named(meshed(remote(1, "198.18.0.2")))},
		{"and goes", named(routed("198.18.0.2"))},
		{"no names", routed("198.18.0.2")},
		{"it comes here", meshed(remote(1, "198.18.0.2"))},
		{"the outside is shared", shared(false, "198.18.0.2", "198.18.0.3")},
		{"another host is in it", shared(false, "198.18.0.2", "198.18.0.4")},
		{"this is the edge", shared(true, "198.18.0.2")},
		{"alone", shared(true)},
		{"guests on two other hosts", meshed(remote(1, "198.18.0.2"), remote(2, "198.18.0.2"), bare)},
		{"one moves, one goes", meshed(remote(1, "198.18.0.3"), bare)},
		{"nobody on one host", meshed(remote(1, "198.18.0.2"))},
		{"no mesh", desired(with(func(n *netfab.Network) {}))},
	}
}
