//go:build linux

package linux

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// localMTU is that of a segment which ends at the host, in bytes. Where the way
// beyond is narrower the host says so to who sends, and the router passes it on.
const localMTU = 1500

// meshAgeing is how long a shared segment remembers, in seconds, behind which
// host a router is that says nothing. One that moves says so at once.
const meshAgeing = 30

// setSegment makes the outside bridge with what connects it to the world.
func (a *apply) setSegment(o netfab.Outside) error {
	name := a.names.outside()
	l, err := a.rt.Link(name)
	if err != nil {
		return err
	}
	old, ours := a.names.parseOutside(l.Alias)
	if l.Index != 0 && !ours {
		return a.foreignDevice(name)
	}
	mtu, err := a.segmentMTU(o)
	if err != nil {
		return err
	}
	want := rt.Link{Name: name, MAC: segmentMAC(a.names, o), MTU: mtu, Up: true, Alias: a.names.outsideAlias(o)}
	if l.Index == 0 {
		if err := a.hostLinks("make "+name, rt.AddLink(want, &rt.Bridge{}, 0)...); err != nil {
			return err
		}
		if l, err = a.rt.Link(name); err != nil {
			return err
		}
	}
	if err := a.leaveWorld(l, old, o); err != nil { // while the alias still tells of it
		return err
	}
	if err := a.hook("quiet " + name); err != nil {
		return err
	}
	if err := a.host.Do(func() error { return netns.Set(quiet(name)) }); err != nil {
		return err
	}
	addrs, err := a.rt.Addrs()
	if err != nil {
		return err
	}
	// The MAC comes last: setting it tells the segment whose the address is now.
	mac := want.MAC
	want.Index, want.MAC = l.Index, nil
	todo := append([]rt.Request{rt.SetLink(want)}, onlyAddrs(l.Index, addrs[l.Index], hostAddrs(o)...)...)
	todo = append(todo, announce(l.Index, mac))
	if err := a.hostLinks("set "+name, todo...); err != nil {
		return err
	}
	switch o.Mode {
	case netfab.L2:
		return a.takeUplink(l, o, addrs)
	case netfab.Routed:
		return a.share(l, o, mtu)
	}
	return nil
}

// segmentMAC is the outside bridge's. The edge's goes with its role, so that
// routers know it already when another host is the edge.
func segmentMAC(n names, o netfab.Outside) net.HardwareAddr {
	if o.Edge {
		return localMAC("edge", o.Prefix)
	}
	return localMAC("segment", n.tag)
}

// hostAddrs are the host's own on the segment: where it is the routers' router.
func hostAddrs(o netfab.Outside) []netip.Prefix {
	if !o.Hosted() {
		return nil
	}
	return []netip.Prefix{netip.PrefixFrom(netfab.First(o.Prefix), o.Prefix.Bits())}
}

// segmentMTU is that of the segment, in bytes; 0 where that cannot be told now.
func (a *apply) segmentMTU(o netfab.Outside) (int, error) {
	switch o.Mode {
	case netfab.L2:
		l, err := a.rt.Link(o.Uplink)
		return l.MTU, err
	case netfab.Routed:
		return max(a.underlay.MTU-netfab.VXLANOverhead, 0), nil
	}
	return localMTU, nil
}

// takeUplink makes the uplink a port of the segment.
func (a *apply) takeUplink(segment rt.Link, o netfab.Outside, addrs map[uint32][]netip.Prefix) error {
	l, err := a.rt.Link(o.Uplink)
	switch {
	case err != nil:
		return err
	case l.Index == 0:
		return fmt.Errorf("%w: uplink %s is no device of this host", netfab.ErrInvalid, o.Uplink)
	case l.Kind == "bridge":
		return fmt.Errorf("%w: uplink %s is a bridge, which cannot be a port of another: name an end of a veth pair whose other end is a port of it", netfab.ErrInvalid, o.Uplink)
	case len(addrs[l.Index]) > 0:
		return fmt.Errorf("%w: uplink %s has addresses %v, which it would lose as a port of the segment: name a device without (a second NIC, a VLAN, an end of a veth pair)", netfab.ErrInvalid, o.Uplink, addrs[l.Index])
	case l.Master != 0 && l.Master != segment.Index:
		return fmt.Errorf("%w: uplink %s is a port of another bridge or bond already", netfab.ErrForeign, o.Uplink)
	}
	return a.hostLinks("take "+l.Name, rt.SetLink(rt.Link{Index: l.Index, Name: l.Name, Master: segment.Index, Up: true}))
}

// leaveWorld takes back what an outside that was here has of the world and the
// next does not want.
func (a *apply) leaveWorld(segment rt.Link, old, o netfab.Outside) error {
	if old.Mode == netfab.L2 && (o.Mode != netfab.L2 || o.Uplink != old.Uplink) {
		l, err := a.rt.Link(old.Uplink)
		if err != nil {
			return err
		}
		if l.Index != 0 && l.Master == segment.Index {
			if err := a.hostLinks("release "+l.Name, rt.Release(l.Index, l.Name)); err != nil {
				return err
			}
		}
	}
	if old.Edge && old.EdgeAddr.IsValid() && (!o.Edge || o.EdgeAddr != old.EdgeAddr || o.Uplink != old.Uplink) {
		l, err := a.rt.Link(old.Uplink)
		if err != nil {
			return err
		}
		if l.Index != 0 {
			if err := a.hostLinks("give up "+old.EdgeAddr.String(), rt.DelAddr(l.Index, old.EdgeAddr)); err != nil {
				return err
			}
		}
	}
	if o.Mode != netfab.Routed {
		return a.unshare()
	}
	return nil
}

// share connects the segment with the other hosts', and with the world where
// this host is the edge.
func (a *apply) share(segment rt.Link, o netfab.Outside, mtu int) error {
	name := a.names.sharedMesh()
	l, err := a.rt.Link(name)
	if err != nil {
		return err
	}
	if l.Index != 0 && l.Alias != a.names.sharedAlias() {
		return a.foreignDevice(name)
	}
	want := rt.Link{Name: name, MAC: localMAC("shared", a.underlay.Addr), MTU: mtu, Up: true, Master: segment.Index, Alias: a.names.sharedAlias()}
	var todo []rt.Request
	if l.Index != 0 && sharedRight(l, o.VNI, a.underlay.Addr) {
		want.Index = l.Index
		todo = append(todo, rt.SetLink(want))
	} else {
		if l.Index != 0 {
			todo = append(todo, rt.DelLink(name))
		}
		data := &rt.VXLAN{VNI: o.VNI, Local: a.underlay.Addr, Port: vxlanPort, Learn: true, Ageing: meshAgeing}
		todo = append(todo, rt.AddLink(want, data, 0)...)
	}
	if err := a.hostLinks("set "+name, todo...); err != nil {
		return fmt.Errorf("VXLAN device of the outside (is the VNI %d in use on this host?): %w", o.VNI, err)
	}
	if err := a.host.Do(func() error { return netns.Set(quiet(name)) }); err != nil {
		return err
	}
	if l, err = a.rt.Link(name); err != nil {
		return err
	}
	have, err := a.peers(l.Index)
	if err != nil {
		return err
	}
	if err := a.hostLinks("set peers of "+name, onlyPeers(l.Index, have, o.Peers)...); err != nil {
		return err
	}
	return a.takeEdgeAddr(o)
}

func onlyPeers(link uint32, have, want []netip.Addr) (todo []rt.Request) {
	for _, p := range have {
		if !slices.Contains(want, p) {
			todo = append(todo, rt.DelFDB(rt.FDB{Link: link, Self: true, Dst: p}))
		}
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			todo = append(todo, rt.AddFDB(rt.FDB{Link: link, Self: true, Dst: p}))
		}
	}
	return todo
}

// peers lists to whom a VXLAN device sends what is for all.
func (a *apply) peers(link uint32) (peers []netip.Addr, err error) {
	entries, err := a.rt.FDBs()
	for _, e := range entries {
		if e.Link == link && e.Self && e.MAC == ([6]byte{}) {
			peers = append(peers, e.Dst)
		}
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return peers, err
}

// unshare removes the segment's VXLAN device.
func (a *apply) unshare() error {
	l, err := a.rt.Link(a.names.sharedMesh())
	if err != nil || l.Index == 0 || l.Alias != a.names.sharedAlias() {
		return err
	}
	return a.hostLinks("delete "+l.Name, rt.DelLink(l.Name))
}

// sharedRight tells whether a device is the VXLAN of a shared segment.
func sharedRight(l rt.Link, vni uint32, local netip.Addr) bool {
	return l.VXLAN != nil && *l.VXLAN == rt.VXLAN{VNI: vni, Local: local, Port: vxlanPort, Learn: true}
}

// takeEdgeAddr gives the uplink the edge's address, and tells the world.
func (a *apply) takeEdgeAddr(o netfab.Outside) error {
	if !o.Edge || !o.EdgeAddr.IsValid() {
		return nil
	}
	l, err := a.rt.Link(o.Uplink)
	if err != nil {
		return err
	}
	if l.Index == 0 {
		return fmt.Errorf("%w: uplink %s is no device of this host", netfab.ErrInvalid, o.Uplink)
	}
	if err := a.hostLinks("take "+o.EdgeAddr.String(), rt.AddAddr(l.Index, o.EdgeAddr)); err != nil {
		return err
	}
	return a.host.Do(func() error { return gratuitousARP(l, o.EdgeAddr.Addr()) })
}

// gratuitousARP tells the segment of a device of the calling thread's namespace
// that an address is there now.
func gratuitousARP(l rt.Link, addr netip.Addr) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, l.MAC,
		[]byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1}, l.MAC, addr.AsSlice(), make([]byte, 6), addr.AsSlice())
	err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: int(l.Index), Halen: 6})
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, l.Name, err)
	}
	return nil
}

// foreignDevice is the error of a device with our name that is not ours.
func (a *apply) foreignDevice(name string) error {
	return fmt.Errorf("%w: device %s exists and does not carry the mark of %q: remove it or run with another tag",
		netfab.ErrForeign, name, a.names.tag)
}
