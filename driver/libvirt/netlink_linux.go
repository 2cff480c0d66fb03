package libvirt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"
)

// rtnetlink is that of one network namespace.
type rtnetlink struct{ nl *netlink.Conn }

func dialNS(path string) (*rtnetlink, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(f.Fd()), Strict: true, MessageBufferSize: 1 << 16})
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	return &rtnetlink{nl}, nil
}

func (c *rtnetlink) close() { c.nl.Close() }

// linkPart are the attributes of a link that are copied as they are.
var linkPart = []uint16{unix.IFLA_ADDRESS, unix.IFLA_MTU, unix.IFLA_TXQLEN, unix.IFLA_GROUP, unix.IFLA_IFALIAS}

// portPart are the settings of a bridge's port that are copied, all of them flags
// but for the forwarding mask: from IFLA_BRPORT_MODE to PROXYARP_WIFI, MCAST_FLOOD
// to ISOLATED, and LOCKED.
var portPart = []uint16{4, 5, 6, 7, 8, 9, 10, 11, 27, 28, 29, 30, 31, 32, 33, 39}

// link is what we read of one.
type link struct {
	index  uint32
	up     bool
	attrs  map[uint16][]byte
	master []byte
	port   map[uint16][]byte // settings as a bridge's port
}

// find reads a link; ENODEV when there is none.
func (c *rtnetlink) find(name string) (link, error) {
	body := append(ifinfo(0, 0), attribute(unix.IFLA_IFNAME, nlenc.Bytes(name))...)
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: body,
	})
	if err != nil {
		return link{}, fmt.Errorf("link %s: %w", name, err)
	}
	if len(msgs) == 0 || len(msgs[0].Data) < unix.SizeofIfInfomsg {
		return link{}, fmt.Errorf("link %s: no answer", name)
	}
	data := msgs[0].Data
	l := link{index: binary.NativeEndian.Uint32(data[4:8]), up: binary.NativeEndian.Uint32(data[8:12])&unix.IFF_UP != 0,
		attrs: map[uint16][]byte{}, port: map[uint16][]byte{}}
	ad, err := netlink.NewAttributeDecoder(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return link{}, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_MASTER:
			l.master = ad.Bytes()
		case unix.IFLA_LINKINFO:
			ad.Nested(l.decodeInfo)
		default:
			l.attrs[ad.Type()] = ad.Bytes()
		}
	}
	return l, ad.Err()
}

func (l *link) decodeInfo(ad *netlink.AttributeDecoder) error {
	bridge := false
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_SLAVE_KIND:
			bridge = ad.String() == "bridge"
		case unix.IFLA_INFO_SLAVE_DATA:
			if bridge {
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					for ad.Next() {
						l.port[ad.Type()] = ad.Bytes()
					}
					return ad.Err()
				})
			}
		}
	}
	return ad.Err()
}

// move moves a link, which is down, to another namespace.
func (c *rtnetlink) move(name string, fd int) error {
	l, err := c.find(name)
	if err != nil {
		return err
	}
	return c.batch("move "+name, change(l.index, 0, attribute(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(fd)))))
}

// delete deletes a link; one that is gone is nil.
func (c *rtnetlink) delete(name string) error {
	l, err := c.find(name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	} else if err != nil {
		return err
	}
	err = c.batch("delete "+name, request(unix.RTM_DELLINK, 0, ifinfo(l.index, 0)))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// replace deletes the link old and puts another, which is down, in its place. The
// new one is up and in the bridge only when all else of it is right.
func (c *rtnetlink) replace(old, by string) error {
	was, err := c.find(old)
	if err != nil {
		return err
	}
	next, err := c.find(by)
	if err != nil {
		return err
	}
	entries, err := c.forwarding(was.index)
	if err != nil {
		return err
	}
	looks := attribute(unix.IFLA_IFNAME, nlenc.Bytes(old))
	for _, a := range linkPart {
		if b := was.attrs[a]; len(b) > 0 {
			looks = append(looks, attribute(a, b)...)
		}
	}
	todo := []netlink.Message{request(unix.RTM_DELLINK, 0, ifinfo(was.index, 0)), change(next.index, 0, looks)}
	if was.master != nil {
		todo = append(todo, change(next.index, 0, attribute(unix.IFLA_MASTER, was.master)))
		if len(was.port) > 0 {
			todo = append(todo, change(next.index, 0, was.portSettings()))
		}
	}
	if was.up {
		todo = append(todo, change(next.index, unix.IFF_UP, nil))
	}
	for _, e := range entries {
		binary.NativeEndian.PutUint32(e[4:8], next.index)
		todo = append(todo, request(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, e))
	}
	errs, err := c.send(todo)
	if err == nil && errors.Is(errs[0], unix.ENODEV) {
		errs[0] = nil // whoever maintains the network removed it just now
	}
	if err := errors.Join(err, first(errs)); err != nil {
		return fmt.Errorf("put %s in the place of %s: %w", by, old, err)
	}
	return nil
}

func (l link) portSettings() []byte {
	var settings []byte
	for _, a := range portPart {
		if b, ok := l.port[a]; ok {
			settings = append(settings, attribute(a, b)...)
		}
	}
	info := append(attribute(unix.IFLA_INFO_SLAVE_KIND, []byte("bridge")),
		attribute(unix.IFLA_INFO_SLAVE_DATA|unix.NLA_F_NESTED, settings)...)
	return attribute(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, info)
}

// forwarding returns the bridge's static entries for a port, as messages that make
// them again.
func (c *rtnetlink) forwarding(index uint32) ([][]byte, error) {
	head := make([]byte, unix.SizeofNdMsg)
	head[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(head[4:8], index)
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request | netlink.Dump}, Data: head,
	})
	if err != nil {
		return nil, fmt.Errorf("forwarding entries: %w", err)
	}
	var entries [][]byte
	for _, m := range msgs {
		d := m.Data
		if len(d) < unix.SizeofNdMsg || binary.NativeEndian.Uint32(d[4:8]) != index || d[10]&unix.NTF_SELF != 0 ||
			binary.NativeEndian.Uint16(d[8:10])&unix.NUD_NOARP == 0 {
			continue
		}
		e := append([]byte(nil), d[:unix.SizeofNdMsg]...)
		e[10] = unix.NTF_MASTER
		ad, err := netlink.NewAttributeDecoder(d[unix.SizeofNdMsg:])
		if err != nil {
			return nil, err
		}
		for ad.Next() {
			if t := ad.Type(); t == unix.NDA_LLADDR || t == unix.NDA_VLAN {
				e = append(e, attribute(t, ad.Bytes())...)
			}
		}
		if ad.Err() != nil {
			return nil, ad.Err()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// batch sends messages in one system call. All are tried; the error is that of the
// first which failed.
func (c *rtnetlink) batch(what string, msgs ...netlink.Message) error {
	errs, err := c.send(msgs)
	if err := errors.Join(err, first(errs)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// send sends messages in one system call, and returns what became of each.
func (c *rtnetlink) send(msgs []netlink.Message) (errs []error, err error) {
	if _, err := c.nl.SendMessages(msgs); err != nil {
		return nil, err
	}
	for range msgs { // acknowledgements come in order, one each
		_, err := c.nl.Receive()
		errs = append(errs, err)
	}
	return errs, nil
}

// first is the first error of several.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func request(typ netlink.HeaderType, flags netlink.HeaderFlags, body []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | flags}, Data: body}
}

func change(index uint32, flags uint32, attrs []byte) netlink.Message {
	return request(unix.RTM_NEWLINK, 0, append(ifinfo(index, flags), attrs...))
}

// ifinfo is the head of a message about a link, which sets the flags given.
func ifinfo(index, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:8], index)
	binary.NativeEndian.PutUint32(b[8:12], flags)
	binary.NativeEndian.PutUint32(b[12:16], flags)
	return b
}

func attribute(typ uint16, data []byte) []byte {
	b := make([]byte, (4+len(data)+3)&^3)
	binary.NativeEndian.PutUint16(b, uint16(4+len(data)))
	binary.NativeEndian.PutUint16(b[2:], typ)
	copy(b[4:], data)
	return b
}
