//go:build linux

package linux

import (
	"fmt"
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
	stale, err := r.stale(tap.Index, [6]byte(mac(p.MAC)))
	if err != nil {
		return err
	}
	return r.links("set tap "+name, append(stale,
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
	table := filter(nil)
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
	table := filter(nil)
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

// delPort removes a port's tap, whoever has it open, and what the filter let
// through from it.
func (r *room) delPort(p netfab.Port) error {
	if err := r.links("delete tap "+netfab.TapName(p.ID), rt.DelLink(netfab.TapName(p.ID))); err != nil {
		return err
	}
	return r.elements("forget port "+p.ID, p.ID, nil, nil)
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
