//go:build linux

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// found is a rule as listed: enough to tell whose it is and to delete it. (The
// library's own listing decodes expressions too, and fails on those of other
// people that it does not know.)
type found struct {
	chain  string
	handle uint64
	mark   string
}

// rules lists the rules of a table, or of one chain of it.
func (c *Conn) rules(family nftables.TableFamily, table, chain string) ([]found, error) {
	attrs := []netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(table + "\x00")}}
	if chain != "" {
		attrs = append(attrs, netlink.Attribute{Type: unix.NFTA_RULE_CHAIN, Data: []byte(chain + "\x00")})
	}
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	msgs, err := c.dump(unix.NFT_MSG_GETRULE, family, body)
	if err != nil {
		return nil, fmt.Errorf("rules of table %s: %w", table, err)
	}
	var rules []found
	for _, m := range msgs {
		var r found
		if err := attributes(m.Data, func(ad *netlink.AttributeDecoder) error {
			switch ad.Type() {
			case unix.NFTA_RULE_CHAIN:
				r.chain = ad.String()
			case unix.NFTA_RULE_HANDLE:
				r.handle = ad.Uint64()
			case unix.NFTA_RULE_USERDATA:
				r.mark = commentOf(ad.Bytes())
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("rules of table %s: %w", table, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// dump lists something, again if it changed meanwhile.
func (c *Conn) dump(typ uint16, family nftables.TableFamily, body []byte) ([]netlink.Message, error) {
	const tries = 10
	for range tries {
		msgs, err := c.read.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ),
				Flags: netlink.Request | netlink.Dump,
			},
			Data: append([]byte{byte(family), unix.NFNETLINK_V0, 0, 0}, body...),
		})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(msgs, func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }) {
			return msgs, nil
		}
	}
	return nil, fmt.Errorf("nftables changed during each of %d listings", tries)
}

// attributes calls do for each attribute of an nftables message.
func attributes(message []byte, do func(*netlink.AttributeDecoder) error) error {
	if len(message) < 4 {
		return fmt.Errorf("message of %d bytes", len(message))
	}
	ad, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if err := do(ad); err != nil {
			return err
		}
	}
	return ad.Err()
}

// commentOf reads a rule's comment out of its user data, which anybody may have
// written: the library's reader trusts the lengths in it.
func commentOf(b []byte) string {
	for rest := b; len(rest) >= 2; {
		n := 2 + int(rest[1])
		if n > len(rest) {
			return ""
		}
		if userdata.Type(rest[0]) == userdata.TypeComment {
			text, _ := userdata.GetString(rest[:n], userdata.TypeComment)
			return text
		}
		rest = rest[n:]
	}
	return ""
}
