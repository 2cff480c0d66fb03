//go:build linux

package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet, ctDelete       = 1, 2
	ctOrig, ctReply, ctID = 1, 2, 12
	ctTupleIP, ctIPDst    = 1, 2
)

// Forget ends the connections that were translated to or from an address: what
// follows of them is translated anew, by the rules of now. Rules alone are asked of
// a connection's first packet only.
func (c *Conn) Forget(addr netip.Addr) error {
	msgs, err := c.conntrack(ctGet, netlink.Dump, nil)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, m := range msgs {
		var orig, id []byte
		var to [2]netip.Addr
		if err := attributes(m.Data, func(ad *netlink.AttributeDecoder) error {
			switch ad.Type() {
			case ctOrig:
				orig = ad.Bytes()
				to[0] = destination(orig)
			case ctReply:
				to[1] = destination(ad.Bytes())
			case ctID:
				id = ad.Bytes()
			}
			return nil
		}); err != nil {
			return fmt.Errorf("list connections: %w", err)
		}
		if to[0] != addr && to[1] != addr {
			continue
		}
		body, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctOrig | netlink.Nested, Data: orig}, {Type: ctID, Data: id}})
		if err == nil {
			_, err = c.conntrack(ctDelete, netlink.Acknowledge, body)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // it has just ended
			return fmt.Errorf("end a connection over %s: %w", addr, err)
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

// destination reads it out of one direction of a connection; not valid where
// it has none of IPv4.
func destination(tuple []byte) (addr netip.Addr) {
	ad, err := netlink.NewAttributeDecoder(tuple)
	if err != nil {
		return addr
	}
	for ad.Next() {
		if ad.Type() != ctTupleIP {
			continue
		}
		ad.Nested(func(ip *netlink.AttributeDecoder) error {
			for ip.Next() {
				if ip.Type() == ctIPDst {
					addr, _ = netip.AddrFromSlice(ip.Bytes())
				}
			}
			return nil
		})
	}
	return addr
}
