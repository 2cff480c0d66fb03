//go:build linux

package linux

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// setPort makes a port, or makes it right, whatever of it is there. What may
// come from it is said before it joins the bridge.
func (r *room) setPort(n *netfab.Network, p netfab.Port) error {
	name := netfab.TapName(p.ID)
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	tap, ok := links[name]
	if !ok {
		if tap.Index, err = r.makeTap(name); err != nil {
			return err
		}
	}
	if err := r.allow(n, p); err != nil {
		return err
	}
	if before, _ := parsePort(tap.Alias); before.Addr != p.Addr {
		if err := r.silence(n, before.Addr); err != nil {
			return err
		}
	}
	todo, err := r.stale(tap.Index, [6]byte(mac(p.MAC)))
	if err != nil {
		return err
	}
	known, err := r.meet(tap, links[bridgeName].Index, p)
	if err != nil {
		return err
	}
	todo = append(todo, known...)
	return r.links("set tap "+name, append(todo,
		rt.SetLink(rt.Link{Index: tap.Index, Name: name, MAC: tapMAC(p), MTU: n.MTU, Up: true,
			Master: links[bridgeName].Index, Group: linkGroup, Alias: portAlias(p)}),
		rt.SetLink(rt.Link{Index: tap.Index, Name: name, Port: &rt.Port{}}),
		rt.AddFDB(rt.FDB{Link: tap.Index, MAC: [6]byte(mac(p.MAC))}))...)
}

// stale forgets what other MACs were behind a port before.
func (r *room) stale(port uint32, mac [6]byte) ([]rt.Request, error) {
	entries, err := r.rt.FDBs()
	if err != nil {
		return nil, err
	}
	var todo []rt.Request
	for _, e := range entries {
		if e.Link == port && !e.Self && e.MAC != mac {
			todo = append(todo, rt.DelFDB(e))
		}
	}
	return todo, nil
}

// meet makes a port's guest a neighbour of the bridge, who need not be asked for,
// neither here nor over the mesh, and nothing else that it was before.
func (r *room) meet(tap rt.Link, bridge uint32, p netfab.Port) ([]rt.Request, error) {
	todo, err := r.forget(tap, bridge, p)
	if err == nil && p.Addr.IsValid() {
		todo = append(todo, rt.AddNeighbour(rt.Neighbour{Link: bridge, Addr: p.Addr, MAC: [6]byte(mac(p.MAC))}))
	}
	return todo, err
}

// forget removes the neighbours with the MAC that a port has or had, except for
// the one that it should be.
func (r *room) forget(tap rt.Link, bridge uint32, p netfab.Port) ([]rt.Request, error) {
	neighbours, err := r.rt.Neighbours()
	if err != nil {
		return nil, err
	}
	before, _ := parsePort(tap.Alias)
	var todo []rt.Request
	for _, n := range neighbours {
		mine := slices.Equal(n.MAC[:], mac(p.MAC)) || slices.Equal(n.MAC[:], mac(before.MAC))
		if n.Link == bridge && mine && (n.Addr != p.Addr || !slices.Equal(n.MAC[:], mac(p.MAC))) {
			todo = append(todo, rt.DelNeighbour(n))
		}
	}
	return todo, nil
}

// neighbours makes the bridge's neighbours those of the network and no others. The
// kernel forgets them all whenever the bridge gets a MAC, be it the same, and when
// it loses its last address.
func (r *room) neighbours(n *netfab.Network) error {
	bridge, err := r.rt.Link(bridgeName)
	if err != nil {
		return err
	}
	have, err := r.rt.Neighbours()
	if err != nil {
		return err
	}
	want := neighbours(bridge.Index, n.Ports, n.Remote)
	var todo []rt.Request
	for _, e := range have {
		if e.Link == bridge.Index && want[e.Addr] != e {
			todo = append(todo, rt.DelNeighbour(e))
		}
	}
	for _, addr := range slices.SortedFunc(maps.Keys(want), netip.Addr.Compare) {
		if !slices.Contains(have, want[addr]) {
			todo = append(todo, rt.AddNeighbour(want[addr]))
		}
	}
	if len(todo) == 0 {
		return nil
	}
	return r.links("set neighbours", todo...)
}

// neighbours are those whom a network's bridge knows, by address.
func neighbours(bridge uint32, ports []netfab.Port, remotes []netfab.Remote) map[netip.Addr]rt.Neighbour {
	known := map[netip.Addr]rt.Neighbour{}
	add := func(addr netip.Addr, hw string) {
		if addr.IsValid() && mac(hw) != nil {
			known[addr] = rt.Neighbour{Link: bridge, Addr: addr, MAC: [6]byte(mac(hw))}
		}
	}
	for _, p := range ports {
		add(p.Addr, p.MAC)
	}
	for _, remote := range remotes {
		add(remote.Addr, remote.MAC)
	}
	return known
}

// allow makes the filter let through from a port what is the port's own, and
// nothing that was its before.
func (r *room) allow(n *netfab.Network, p netfab.Port) error {
	macs, addrs := portElements(p)
	return r.elements("allow port "+p.ID, p.ID, macs, addrs)
}

// elements gives a port's interface exactly these elements.
func (r *room) elements(what, portID string, macs, addrs []nft.Element) error {
	conn, err := r.tables()
	if err != nil {
		return err
	}
	table := filterSets()
	var changes []nft.Change
	for _, s := range []struct {
		set  nft.Set
		want []nft.Element
	}{{macSet, macs}, {addrSet, addrs}} {
		change, err := conn.MatchPrefix(table, s.set, string(nft.IfName(netfab.TapName(portID))), s.want)
		if err != nil {
			return err
		}
		changes = append(changes, change)
	}
	if err := r.hook(what); err != nil {
		return err
	}
	return conn.Update(table, changes...)
}

// allowOnly makes the filter let through what is these ports' own and nothing else.
func (r *room) allowOnly(ports []netfab.Port) error {
	conn, err := r.tables()
	if err != nil {
		return err
	}
	var macs, addrs []nft.Element
	for _, p := range ports {
		m, a := portElements(p)
		macs, addrs = append(macs, m...), append(addrs, a...)
	}
	table := filterSets()
	first, err := conn.Match(table, macSet, macs)
	if err != nil {
		return err
	}
	second, err := conn.Match(table, addrSet, addrs)
	if err != nil {
		return err
	}
	if err := r.hook("allow all ports"); err != nil {
		return err
	}
	return conn.Update(table, first, second)
}

// delPort removes what the filter lets through from a port, its conversations, and its
// tap, whoever has it open. As long as the tap is there all of it is done again after a
// crash.
func (r *room) delPort(n *netfab.Network, p netfab.Port) error {
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	if err := r.elements("forget port "+p.ID, p.ID, nil, nil); err != nil {
		return err
	}
	name := netfab.TapName(p.ID)
	before, _ := parsePort(links[name].Alias)
	if err := r.silence(n, p.Addr, before.Addr); err != nil {
		return err
	}
	todo, err := r.forget(links[name], links[bridgeName].Index, netfab.Port{MAC: p.MAC})
	if err != nil {
		return err
	}
	return r.links("delete tap "+name, append(todo, rt.DelLink(name))...)
}

// silence ends the conversations over a router that is here of addresses that nobody has
// any more: who has one next would hear the rest of them.
func (r *room) silence(n *netfab.Network, addrs ...netip.Addr) error {
	if n.Gateway == nil {
		return nil
	}
	known := neighbours(0, n.Ports, n.Remote)
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		_, has := known[a]
		return has || !a.IsValid()
	})
	if len(addrs) == 0 {
		return nil
	}
	if err := r.hook(fmt.Sprintf("end what is said by %v", addrs)); err != nil {
		return err
	}
	conn, err := r.tables()
	if err != nil {
		return err
	}
	return conn.Forget(addrs...)
}

// makeTap makes a tap that stays when its maker closes it.
func (r *room) makeTap(name string) (index uint32, err error) {
	if err := r.hook("make tap " + name); err != nil {
		return 0, err
	}
	err = r.ns.Do(func() error {
		index, err = makeTap(name)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("make tap %s: %w", name, err)
	}
	return index, nil
}

// makeTap does it in the namespace of the calling thread.
func makeTap(name string) (uint32, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return 0, err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return 0, err
	}
	return ifIndex(name)
}

// ifIndex finds an interface of the calling thread's namespace.
func ifIndex(name string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return req.Uint32(), nil
}

// isTap reports whether a name is one that TapName gives.
func isTap(name string) bool {
	return len(name) == 14 && name[0] == 't' && strings.Trim(name[1:], "0123456789abcdef") == ""
}
