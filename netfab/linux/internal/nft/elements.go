//go:build linux

package nft

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Element is one element of a set, or of a map where it has a Value.
type Element struct {
	Key, Value string // bytes
	// Timeout is how long the kernel keeps the element, in whole milliseconds, in a
	// set that ages; 0 means for ever. Listings leave it out.
	Timeout time.Duration
}

// chunk keeps the attribute that holds the elements below its 16 bit length,
// beyond which the library truncates in silence.
const chunk = 400

// Elements lists a set's elements: value by key. A set that is not there has none.
func (c *Conn) Elements(t Table, s Set) (map[string]string, error) {
	body, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(t.Name + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(s.Name + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	msgs, err := c.dump(unix.NFT_MSG_GETSETELEM, t.Family, body)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("elements of %s %s: %w", t.Name, s.Name, err)
	}
	elements := map[string]string{}
	for _, m := range msgs {
		if err := attributes(m.Data, func(ad *netlink.AttributeDecoder) error {
			if ad.Type() == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				ad.Nested(func(list *netlink.AttributeDecoder) error { return decodeElements(list, elements) })
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("elements of %s %s: %w", t.Name, s.Name, err)
		}
	}
	return elements, nil
}

func decodeElements(list *netlink.AttributeDecoder, elements map[string]string) error {
	for list.Next() {
		var key, value string
		list.Nested(func(elem *netlink.AttributeDecoder) error {
			for elem.Next() {
				switch elem.Type() {
				case unix.NFTA_SET_ELEM_KEY:
					elem.Nested(decodeValue(&key))
				case unix.NFTA_SET_ELEM_DATA:
					elem.Nested(decodeValue(&value))
				}
			}
			return nil
		})
		elements[key] = value
	}
	return nil
}

func decodeValue(into *string) func(*netlink.AttributeDecoder) error {
	return func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_DATA_VALUE {
				*into = string(ad.Bytes())
			}
		}
		return nil
	}
}

// Change is a difference of one set's elements.
type Change struct {
	Set      Set
	Del, Add []Element
}

// Update applies changes in one transaction: adding what is there and deleting
// what is gone are the caller's to avoid.
func (c *Conn) Update(t Table, changes ...Change) error {
	table := &nftables.Table{Family: t.Family, Name: t.Name}
	for _, change := range changes {
		set := change.Set.in(table)
		if err := chunks(change.Del, func(es []nftables.SetElement) error { return c.nl.SetDeleteElements(set, es) }); err != nil {
			return fmt.Errorf("delete elements of %s: %w", set.Name, err)
		}
		if err := chunks(change.Add, func(es []nftables.SetElement) error { return c.nl.SetAddElements(set, es) }); err != nil {
			return fmt.Errorf("add elements to %s: %w", set.Name, err)
		}
	}
	if err := c.nl.Flush(); err != nil {
		return fmt.Errorf("update table %s: %w", t.Name, err)
	}
	return nil
}

// Refill replaces all elements of a set in one transaction, whatever they were,
// timeouts too; those that a set has cannot be changed otherwise before Linux 6.12.
func (c *Conn) Refill(t Table, s Set, elements []Element) error {
	set := s.in(&nftables.Table{Family: t.Family, Name: t.Name})
	c.nl.FlushSet(set)
	if err := chunks(elements, func(es []nftables.SetElement) error { return c.nl.SetAddElements(set, es) }); err != nil {
		return fmt.Errorf("add elements to %s: %w", set.Name, err)
	}
	if err := c.nl.Flush(); err != nil {
		return fmt.Errorf("update table %s: %w", t.Name, err)
	}
	return nil
}

// Match returns the change that makes a set have exactly the elements wanted.
func (c *Conn) Match(t Table, s Set, want []Element) (Change, error) {
	return c.MatchPrefix(t, s, "", want)
}

// MatchPrefix is Match of those elements alone whose keys begin with prefix.
func (c *Conn) MatchPrefix(t Table, s Set, prefix string, want []Element) (Change, error) {
	have, err := c.Elements(t, s)
	if err != nil {
		return Change{}, err
	}
	maps.DeleteFunc(have, func(key, _ string) bool { return !strings.HasPrefix(key, prefix) })
	change := Change{Set: s}
	for _, e := range want {
		value, ok := have[e.Key]
		delete(have, e.Key)
		if ok && value == e.Value {
			continue
		}
		if ok {
			change.Del = append(change.Del, Element{Key: e.Key, Value: value})
		}
		change.Add = append(change.Add, e)
	}
	for key, value := range have {
		change.Del = append(change.Del, Element{Key: key, Value: value})
	}
	return change, nil
}

func chunks(elements []Element, do func([]nftables.SetElement) error) error {
	for len(elements) > 0 {
		n := min(len(elements), chunk)
		part := make([]nftables.SetElement, n)
		for i, e := range elements[:n] {
			part[i].Key, part[i].Timeout = []byte(e.Key), e.Timeout
			if e.Value != "" {
				part[i].Val = []byte(e.Value)
			}
		}
		if err := do(part); err != nil {
			return err
		}
		elements = elements[n:]
	}
	return nil
}
