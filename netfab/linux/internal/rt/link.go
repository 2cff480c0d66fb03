//go:build linux

package rt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network device: as listed, or as wanted by AddLink and SetLink,
// where zero fields say nothing.
type Link struct {
	Index  uint32 // in AddLink: the index wanted
	Name   string
	Kind   string // "bridge", "veth", "vxlan", "tun"
	MAC    net.HardwareAddr
	MTU    int
	Up     bool // in AddLink and SetLink: true brings it up
	Master uint32
	Group  uint32
	Alias  string
	Peer   uint32 // of a veth: the peer's index in its own namespace (listing only)
	VXLAN  *VXLAN // of a vxlan
	Port   *Port  // of a bridge's port
}

// AddLink makes a link with what rtnetlink can say at once, and names its owner
// (alias, group) in a second message: put both into one batch. A link with
// nsFd is born in that namespace, and then gets its alias there.
func AddLink(l Link, data rtnetlink.LinkDriver, nsFd int) []Request {
	m := message(l)
	if data != nil {
		m.Attributes.Info = &rtnetlink.LinkInfo{Kind: data.Kind(), Data: data}
	}
	if nsFd != 0 {
		m.Attributes.NetNS = rtnetlink.NetNSForFD(uint32(nsFd))
	}
	body, err := m.MarshalBinary()
	reqs := []Request{request("add link "+l.Name, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, body, err, group(l)...)}
	if l.Alias != "" && nsFd == 0 {
		reqs = append(reqs, SetLink(Link{Name: l.Name, Alias: l.Alias}))
	}
	return reqs
}

// SetLink changes a link, found by Index or else by Name. Port settings need the
// link to be in its bridge already: they go in a later request of the batch.
func SetLink(l Link) Request {
	m := message(l)
	if l.Index != 0 {
		m.Attributes.Name = ""
	}
	if l.Port != nil {
		m.Attributes.Info = &rtnetlink.LinkInfo{SlaveKind: "bridge", SlaveData: l.Port}
	}
	body, err := m.MarshalBinary()
	more := group(l)
	if l.Alias != "" {
		more = append(more, netlink.Attribute{Type: unix.IFLA_IFALIAS, Data: []byte(l.Alias)})
	}
	return request("set link "+l.Name, unix.RTM_NEWLINK, 0, body, err, more...)
}

// Release takes a link out of its bridge.
func Release(index uint32, name string) Request {
	m := message(Link{Index: index})
	m.Attributes.Master = new(uint32)
	body, err := m.MarshalBinary()
	return request("release link "+name, unix.RTM_NEWLINK, 0, body, err)
}

// message says of a link what rtnetlink can encode.
func message(l Link) *rtnetlink.LinkMessage {
	m := &rtnetlink.LinkMessage{Index: l.Index, Attributes: &rtnetlink.LinkAttributes{
		Name: l.Name, MTU: uint32(l.MTU), Address: l.MAC,
	}}
	if l.Up {
		m.Flags, m.Change = unix.IFF_UP, unix.IFF_UP
	}
	if l.Master != 0 {
		m.Attributes.Master = &l.Master
	}
	return m
}

func group(l Link) []netlink.Attribute {
	if l.Group == 0 {
		return nil
	}
	return []netlink.Attribute{{Type: unix.IFLA_GROUP, Data: binary.NativeEndian.AppendUint32(nil, l.Group)}}
}

// DelLink removes a link by name; one that is gone is nil.
func DelLink(name string) Request {
	m := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: name}}
	body, err := m.MarshalBinary()
	r := request("delete link "+name, unix.RTM_DELLINK, 0, body, err)
	r.tolerate = unix.ENODEV
	return r
}

// DelGroup removes all links of a group at once, for the price of one; an empty
// group is nil. The kernel deletes the far ends of veths along with them.
func DelGroup(number uint32) Request {
	body, err := (&rtnetlink.LinkMessage{}).MarshalBinary()
	r := request(fmt.Sprintf("delete links of group %d", number), unix.RTM_DELLINK, 0, body, err, group(Link{Group: number})...)
	r.tolerate = unix.ENODEV
	return r
}

// Links lists all links of the namespace by name.
func (c *Conn) Links() (map[string]Link, error) {
	msgs, err := c.dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := map[string]Link{}
	for _, m := range msgs {
		l, err := decodeLink(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		links[l.Name] = l
	}
	return links, nil
}

func decodeLink(b []byte) (Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("message of %d bytes", len(b))
	}
	l := Link{Index: binary.NativeEndian.Uint32(b[4:8]), Up: binary.NativeEndian.Uint32(b[8:12])&unix.IFF_UP != 0}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			l.MAC = ad.Bytes()
		case unix.IFLA_MTU:
			l.MTU = int(ad.Uint32())
		case unix.IFLA_LINK:
			l.Peer = ad.Uint32()
		case unix.IFLA_MASTER:
			l.Master = ad.Uint32()
		case unix.IFLA_GROUP:
			l.Group = ad.Uint32()
		case unix.IFLA_IFALIAS:
			l.Alias = ad.String()
		case unix.IFLA_LINKINFO:
			ad.Nested(l.decodeInfo)
		}
	}
	return l, ad.Err()
}

func (l *Link) decodeInfo(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			l.Kind = ad.String()
		case unix.IFLA_INFO_DATA:
			if l.Kind == "vxlan" {
				l.VXLAN = &VXLAN{}
				ad.Nested(l.VXLAN.Decode)
			}
		case unix.IFLA_INFO_SLAVE_DATA:
			l.Port = &Port{}
			ad.Nested(l.Port.Decode)
		}
	}
	return nil
}

// Link returns one link by name; Index is 0 where there is none.
func (c *Conn) Link(name string) (Link, error) {
	body, err := (&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: name}}).MarshalBinary()
	if err != nil {
		return Link{}, err
	}
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   body,
	})
	if errors.Is(err, unix.ENODEV) {
		return Link{}, nil
	}
	if err != nil {
		return Link{}, fmt.Errorf("get link %s: %w", name, err)
	}
	if len(msgs) != 1 {
		return Link{}, fmt.Errorf("get link %s: %d answers", name, len(msgs))
	}
	return decodeLink(msgs[0].Data)
}

// Down takes a link down, by name.
func Down(name string) Request {
	m := message(Link{Name: name})
	m.Change = unix.IFF_UP
	body, err := m.MarshalBinary()
	return request("take down link "+name, unix.RTM_NEWLINK, 0, body, err)
}
