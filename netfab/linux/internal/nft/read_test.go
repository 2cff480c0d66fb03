//go:build linux

package nft

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestCommentOf(t *testing.T) {
	for _, c := range []struct {
		data []byte
		want string
	}{
		{comment("hello"), "hello"},
		{append([]byte{9, 1, 'x'}, comment("second")...), "second"},
		{nil, ""},
		{[]byte{0}, ""},
		{[]byte{0, 200, 'a'}, ""}, // says it is longer than it is
		{[]byte{0, 0}, ""},
	} {
		if got := commentOf(c.data); got != c.want {
			t.Errorf("comment of % x is %q, want %q", c.data, got, c.want)
		}
	}
}

func FuzzCommentOf(f *testing.F) {
	f.Add(comment("hello"))
	f.Fuzz(func(t *testing.T, b []byte) { commentOf(b) })
}

// FuzzElements reads what might be a set's elements, and a dump's message.
func FuzzElements(f *testing.F) {
	value, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_DATA_VALUE, Data: []byte{10, 0, 0, 1}}})
	if err != nil {
		f.Fatal(err)
	}
	elem, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_SET_ELEM_KEY, Data: value}, {Type: unix.NFTA_SET_ELEM_DATA, Data: value}})
	if err != nil {
		f.Fatal(err)
	}
	list, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: 1, Data: elem}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(list)
	f.Add(append(make([]byte, 4), list...))
	f.Add([]byte{0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		elements := map[string]string{}
		if ad, err := netlink.NewAttributeDecoder(b); err == nil {
			decodeElements(ad, elements)
		}
		attributes(b, func(ad *netlink.AttributeDecoder) error { return decodeElements(ad, elements) })
		for key, value := range elements {
			if len(key) > len(b) || len(value) > len(b) {
				t.Errorf("% x: %q", b, elements)
			}
		}
	})
}
