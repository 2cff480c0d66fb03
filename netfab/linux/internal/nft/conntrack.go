//go:build linux

package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet, ctDelete       = 1, 2
	ctOrig, ctReply, ctID = 1, 2, 12
	ctTupleIP             = 1
	ctIPSrc, ctIPDst      = 1, 2
)

// Forget ends the connections that are from, to, or translated to or from any of some
// addresses: what follows of them is judged and translated anew, by the rules of now.
// Rules alone are asked of a connection's first packet only.
func (c *Conn) Forget(addrs ...netip.Addr) error {
	msgs, err := c.conntrack(ctGet, netlink.Dump, nil)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, m := range msgs {
		var orig, id []byte
		about := false
		if err := attributes(m.Data, func(ad *netlink.AttributeDecoder) error {
			switch ad.Type() {
			case ctOrig:
				orig = ad.Bytes()
				about = about || mentions(orig, addrs)
			case ctReply:
				about = about || mentions(ad.Bytes(), addrs)
			case ctID:
				id = ad.Bytes()
			}
			return nil
		}); err != nil {
			return fmt.Errorf("list connections: %w", err)
		}
		if !about {
			continue
		}
		body, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctOrig | netlink.Nested, Data: orig}, {Type: ctID, Data: id}})
		if err == nil {
			_, err = c.conntrack(ctDelete, netlink.Acknowledge, body)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // it has just ended
			return fmt.Errorf("end a connection of %v: %w", addrs, err)
		}
	}
	return nil
}

// ForgetAll ends all connections of the namespace.
func (c *Conn) ForgetAll() error {
	if _, err := c.conntrack(ctDelete, netlink.Acknowledge, nil); err != nil {
		return fmt.Errorf("end all connections: %w", err)
	}
	return nil
}

func (c *Conn) conntrack(typ uint16, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	return c.read.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | typ), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, body...),
	})
}

// mentions tells whether one direction of a connection is from or to an address.
func mentions(tuple []byte, addrs []netip.Addr) (yes bool) {
	ad, err := netlink.NewAttributeDecoder(tuple)
	if err != nil {
		return false
	}
	for ad.Next() {
		if ad.Type() != ctTupleIP {
			continue
		}
		ad.Nested(func(ip *netlink.AttributeDecoder) error {
			for ip.Next() {
				if t := ip.Type(); t == ctIPSrc || t == ctIPDst {
					addr, ok := netip.AddrFromSlice(ip.Bytes())
					yes = yes || ok && slices.Contains(addrs, addr)
				}
			}
			return nil
		})
	}
	return yes
}
