//go:build linux

package rt

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// AddAddr gives a link an address; one that it has is nil.
func AddAddr(link uint32, p netip.Prefix) Request {
	r := addr("add", unix.RTM_NEWADDR, netlink.Create|netlink.Excl, link, p)
	r.tolerate = unix.EEXIST
	return r
}

// DelAddr takes an address from a link; one that is gone is nil.
func DelAddr(link uint32, p netip.Prefix) Request {
	r := addr("delete", unix.RTM_DELADDR, 0, link, p)
	r.tolerate = unix.EADDRNOTAVAIL
	return r
}

func addr(verb string, typ uint16, flags netlink.HeaderFlags, link uint32, p netip.Prefix) Request {
	m := rtnetlink.AddressMessage{
		Family: unix.AF_INET, PrefixLength: uint8(p.Bits()), Index: link,
		Attributes: &rtnetlink.AddressAttributes{Address: p.Addr().AsSlice(), Local: p.Addr().AsSlice()},
	}
	body, err := m.MarshalBinary()
	return request(fmt.Sprintf("%s address %s", verb, p), typ, flags, body, err)
}

// Addrs lists the IPv4 addresses of the namespace by the index of their link.
func (c *Conn) Addrs() (map[uint32][]netip.Prefix, error) {
	header := make([]byte, unix.SizeofIfAddrmsg)
	header[0] = unix.AF_INET
	msgs, err := c.dump(unix.RTM_GETADDR, header)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	addrs := map[uint32][]netip.Prefix{}
	for _, msg := range msgs {
		var m rtnetlink.AddressMessage
		if err := m.UnmarshalBinary(msg.Data); err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		if m.Attributes == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(m.Attributes.Local); ok {
			addrs[m.Index] = append(addrs[m.Index], netip.PrefixFrom(a.Unmap(), int(m.PrefixLength)))
		}
	}
	return addrs, nil
}

// SetDefault makes the namespace's default route lead to gateway over a link.
func SetDefault(link uint32, gateway netip.Addr) Request {
	body, err := defaultRoute(link, gateway).MarshalBinary()
	return request(fmt.Sprintf("route default via %s", gateway), unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, body, err)
}

// AddRoute makes a prefix be reached by way of a gateway.
func AddRoute(to netip.Prefix, gateway netip.Addr, link uint32) Request {
	m := defaultRoute(link, gateway)
	m.DstLength, m.Attributes.Dst = uint8(to.Bits()), to.Addr().AsSlice()
	body, err := m.MarshalBinary()
	return request(fmt.Sprintf("route %s via %s", to, gateway), unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, body, err)
}

// AddDirect makes a prefix be reached over a link without an address of its own,
// from an address of another.
func AddDirect(to netip.Prefix, link uint32, source netip.Addr) Request {
	m := &rtnetlink.RouteMessage{
		Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Scope: unix.RT_SCOPE_LINK, Type: unix.RTN_UNICAST,
		DstLength: uint8(to.Bits()), Attributes: rtnetlink.RouteAttributes{Dst: to.Addr().AsSlice(), Src: source.AsSlice(), OutIface: link},
	}
	body, err := m.MarshalBinary()
	return request(fmt.Sprintf("route %s", to), unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, body, err)
}

// Direct tells whether there is such a route.
func (c *Conn) Direct(to netip.Prefix, link uint32, source netip.Addr) (bool, error) {
	header := make([]byte, unix.SizeofRtMsg)
	header[0] = unix.AF_INET
	msgs, err := c.dump(unix.RTM_GETROUTE, header)
	if err != nil {
		return false, fmt.Errorf("list routes: %w", err)
	}
	for _, msg := range msgs {
		var m rtnetlink.RouteMessage
		if err := m.UnmarshalBinary(msg.Data); err != nil {
			return false, fmt.Errorf("list routes: %w", err)
		}
		dst, _ := netip.AddrFromSlice(m.Attributes.Dst)
		src, _ := netip.AddrFromSlice(m.Attributes.Src)
		if m.Table == unix.RT_TABLE_MAIN && int(m.DstLength) == to.Bits() && dst.Unmap() == to.Addr() &&
			src.Unmap() == source && m.Attributes.OutIface == link {
			return true, nil
		}
	}
	return false, nil
}

func defaultRoute(link uint32, gateway netip.Addr) *rtnetlink.RouteMessage {
	return &rtnetlink.RouteMessage{
		Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC,
		Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST,
		Attributes: rtnetlink.RouteAttributes{Gateway: gateway.AsSlice(), OutIface: link},
	}
}

// Default returns the gateway and the link of the namespace's default route;
// the address is not valid where there is none.
func (c *Conn) Default() (netip.Addr, uint32, error) {
	header := make([]byte, unix.SizeofRtMsg)
	header[0] = unix.AF_INET
	msgs, err := c.dump(unix.RTM_GETROUTE, header)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("list routes: %w", err)
	}
	for _, msg := range msgs {
		var m rtnetlink.RouteMessage
		if err := m.UnmarshalBinary(msg.Data); err != nil {
			return netip.Addr{}, 0, fmt.Errorf("list routes: %w", err)
		}
		if gateway, ok := netip.AddrFromSlice(m.Attributes.Gateway); ok && m.DstLength == 0 && m.Table == unix.RT_TABLE_MAIN {
			return gateway.Unmap(), m.Attributes.OutIface, nil
		}
	}
	return netip.Addr{}, 0, nil
}

// Defaults lists the links that the namespace's default routes lead over.
func (c *Conn) Defaults() ([]uint32, error) {
	header := make([]byte, unix.SizeofRtMsg)
	header[0] = unix.AF_INET
	msgs, err := c.dump(unix.RTM_GETROUTE, header)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var links []uint32
	for _, msg := range msgs {
		var m rtnetlink.RouteMessage
		if err := m.UnmarshalBinary(msg.Data); err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		if m.DstLength != 0 || m.Type != unix.RTN_UNICAST {
			continue
		}
		links = append(links, m.Attributes.OutIface)
		for _, hop := range m.Attributes.Multipath {
			links = append(links, hop.Hop.IfIndex)
		}
	}
	return links, nil
}

// FDB is an entry of a forwarding table: of a bridge's own (Self false, Link is
// the port) or of a VXLAN device (Self true, Dst is the far host).
type FDB struct {
	Link uint32
	MAC  [6]byte
	Self bool
	Dst  netip.Addr
}

// AddFDB adds a permanent entry, beside what is there for the same MAC with
// another Dst.
func AddFDB(e FDB) Request {
	flags := netlink.Create | netlink.Replace
	if e.Self && e.MAC == ([6]byte{}) {
		flags = netlink.Create | netlink.Append
	}
	r := fdb("add", unix.RTM_NEWNEIGH, flags, e)
	r.tolerate = unix.EEXIST
	return r
}

// DelFDB removes an entry; one that is gone is nil.
func DelFDB(e FDB) Request {
	r := fdb("delete", unix.RTM_DELNEIGH, 0, e)
	r.tolerate = unix.ENOENT
	return r
}

func fdb(verb string, typ uint16, flags netlink.HeaderFlags, e FDB) Request {
	state, where := uint16(unix.NUD_NOARP), uint8(unix.NTF_MASTER)
	if e.Self {
		state, where = unix.NUD_NOARP|unix.NUD_PERMANENT, unix.NTF_SELF
	}
	attrs := []netlink.Attribute{{Type: unix.NDA_LLADDR, Data: e.MAC[:]}}
	if e.Dst.IsValid() {
		attrs = append(attrs, netlink.Attribute{Type: unix.NDA_DST, Data: e.Dst.AsSlice()})
	}
	what := fmt.Sprintf("%s forwarding entry %x", verb, e.MAC)
	return request(what, typ, flags, ndmsg(unix.AF_BRIDGE, e.Link, state, where), nil, attrs...)
}

// Neighbour is a permanent ARP entry of a link.
type Neighbour struct {
	Link uint32
	Addr netip.Addr
	MAC  [6]byte
}

// AddNeighbour adds or replaces an entry.
func AddNeighbour(n Neighbour) Request {
	return neighbour("add", unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, n)
}

// DelNeighbour removes an entry; one that is gone is nil.
func DelNeighbour(n Neighbour) Request {
	r := neighbour("delete", unix.RTM_DELNEIGH, 0, n)
	r.tolerate = unix.ENOENT
	return r
}

func neighbour(verb string, typ uint16, flags netlink.HeaderFlags, n Neighbour) Request {
	return request(fmt.Sprintf("%s neighbour %s", verb, n.Addr), typ, flags,
		ndmsg(unix.AF_INET, n.Link, unix.NUD_PERMANENT, 0), nil,
		netlink.Attribute{Type: unix.NDA_DST, Data: n.Addr.AsSlice()},
		netlink.Attribute{Type: unix.NDA_LLADDR, Data: n.MAC[:]})
}

// ndmsg is the header of neighbour messages.
func ndmsg(family uint8, link uint32, state uint16, flags uint8) []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:8], link)
	binary.NativeEndian.PutUint16(b[8:10], state)
	b[10] = flags
	return b
}

// FDBs lists the permanent forwarding entries of the namespace's bridges and
// VXLAN devices, without those that bridges make for their own ports' MACs.
func (c *Conn) FDBs() ([]FDB, error) {
	msgs, err := c.dump(unix.RTM_GETNEIGH, ndmsg(unix.AF_BRIDGE, 0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries: %w", err)
	}
	var entries []FDB
	for _, m := range msgs {
		if len(m.Data) < unix.SizeofNdMsg || m.Data[0] != unix.AF_BRIDGE {
			continue
		}
		e := FDB{Link: binary.NativeEndian.Uint32(m.Data[4:8]), Self: m.Data[10]&unix.NTF_SELF != 0}
		state := binary.NativeEndian.Uint16(m.Data[8:10])
		if !e.Self && state != unix.NUD_NOARP {
			continue
		}
		if err := e.decode(m.Data[unix.SizeofNdMsg:]); err != nil {
			return nil, fmt.Errorf("list forwarding entries: %w", err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (e *FDB) decode(b []byte) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NDA_LLADDR:
			copy(e.MAC[:], ad.Bytes())
		case unix.NDA_DST:
			e.Dst, _ = netip.AddrFromSlice(ad.Bytes())
		}
	}
	return ad.Err()
}

// Neighbours lists the permanent ARP entries of the namespace.
func (c *Conn) Neighbours() ([]Neighbour, error) {
	msgs, err := c.dump(unix.RTM_GETNEIGH, ndmsg(unix.AF_INET, 0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var entries []Neighbour
	for _, m := range msgs {
		if len(m.Data) < unix.SizeofNdMsg || binary.NativeEndian.Uint16(m.Data[8:10])&unix.NUD_PERMANENT == 0 {
			continue
		}
		var e FDB
		if err := e.decode(m.Data[unix.SizeofNdMsg:]); err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		entries = append(entries, Neighbour{Link: binary.NativeEndian.Uint32(m.Data[4:8]), Addr: e.Dst, MAC: e.MAC})
	}
	return entries, nil
}
