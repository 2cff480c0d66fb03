//go:build linux

package rt

import (
	"bytes"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// FuzzLink reads what might be a link of the kernel's, and an entry of a forwarding table: none
// makes it stumble, and only a whole one is taken for a link.
func FuzzLink(f *testing.F) {
	attributes := func(list ...netlink.Attribute) []byte {
		b, err := netlink.MarshalAttributes(list)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	info := attributes(netlink.Attribute{Type: unix.IFLA_INFO_KIND, Data: []byte("vxlan\x00")},
		netlink.Attribute{Type: unix.IFLA_INFO_DATA, Data: attributes(netlink.Attribute{Type: vxlanID, Data: []byte{5, 0, 0, 0}}, netlink.Attribute{Type: vxlanLocal, Data: []byte{10, 0, 0, 1}})},
		netlink.Attribute{Type: unix.IFLA_INFO_SLAVE_DATA, Data: attributes(netlink.Attribute{Type: 1, Data: []byte{1}})})
	f.Add(append(make([]byte, unix.SizeofIfInfomsg), attributes(netlink.Attribute{Type: unix.IFLA_IFNAME, Data: []byte("vx5\x00")},
		netlink.Attribute{Type: unix.IFLA_MTU, Data: []byte{0, 5, 0, 0}}, netlink.Attribute{Type: unix.IFLA_LINKINFO, Data: info})...))
	f.Add(append(make([]byte, unix.SizeofIfInfomsg), attributes(netlink.Attribute{Type: unix.IFLA_MTU, Data: []byte{1}})...))
	f.Add(attributes(netlink.Attribute{Type: unix.NDA_LLADDR, Data: bytes.Repeat([]byte{1}, 20)}, netlink.Attribute{Type: unix.NDA_DST, Data: []byte{1, 2}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLink(b)
		if err == nil && len(b) < unix.SizeofIfInfomsg || err != nil && NameOf(b) != "" {
			t.Errorf("% x: %+v, %v", b, l, err)
		}
		var e FDB
		e.decode(b)
	})
}
