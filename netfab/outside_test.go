package netfab_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/shakenfist/cloud/netfab"
)

func TestOutside(t *testing.T) {
	block, lan := netip.MustParsePrefix("192.168.20.128/25"), netip.MustParsePrefix("192.168.20.0/24")
	peer := netip.MustParseAddr("198.18.0.2")
	routed := netfab.Outside{Prefix: block, Mode: netfab.Routed, VNI: 7}
	with := func(o netfab.Outside, change func(*netfab.Outside)) netfab.Outside { change(&o); return o }
	for _, c := range []struct {
		name string
		o    netfab.Outside
		text string // empty where it is invalid
	}{
		{"local", netfab.Outside{Prefix: block}, "addr 192.168.20.128/25 via 192.168.20.129"},
		{"fenced", netfab.Outside{Prefix: block, Uplink: "eth1", Fenced: true}, "addr 192.168.20.128/25 via 192.168.20.129 dev eth1 fenced"},
		{"local with peers", netfab.Outside{Prefix: block, Peers: []netip.Addr{peer.Next(), peer, peer}}, "addr 192.168.20.128/25 via 192.168.20.129 peer 198.18.0.2 peer 198.18.0.3"},
		{"local with itself", netfab.Outside{Prefix: block, Peers: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}, ""},
		{"local with a gateway", netfab.Outside{Prefix: block, Via: peer}, ""},
		{"an uplink that is none", netfab.Outside{Prefix: block, Uplink: "no such/device"}, ""},
		{"no such mode", netfab.Outside{Prefix: block, Mode: "l3"}, ""},
		{"IPv6", netfab.Outside{Prefix: netip.MustParsePrefix("fd00::/64")}, ""},
		{"l2", netfab.Outside{Prefix: block, Mode: netfab.L2, Uplink: "eth1"}, "addr 192.168.20.128/25 via 192.168.20.129 dev eth1 mode l2"},
		{"l2 in a larger segment", netfab.Outside{Prefix: block, Mode: netfab.L2, Uplink: "eth1", Segment: lan},
			"addr 192.168.20.128/25 via 192.168.20.1 segment 192.168.20.0/24 dev eth1 mode l2"},
		{"l2 with a gateway", netfab.Outside{Prefix: lan, Mode: netfab.L2, Uplink: "eth1", Via: netip.MustParseAddr("192.168.20.254")},
			"addr 192.168.20.0/24 via 192.168.20.254 dev eth1 mode l2"},
		{"l2 without an uplink", netfab.Outside{Prefix: block, Mode: netfab.L2}, ""},
		{"l2 in another segment", netfab.Outside{Prefix: block, Mode: netfab.L2, Uplink: "eth1", Segment: netip.MustParsePrefix("10.0.0.0/8")}, ""},
		{"l2 with a gateway elsewhere", netfab.Outside{Prefix: block, Mode: netfab.L2, Uplink: "eth1", Via: peer}, ""},
		{"l2 with peers", netfab.Outside{Prefix: block, Mode: netfab.L2, Uplink: "eth1", Peers: []netip.Addr{peer}}, ""},
		{"routed", routed, "addr 192.168.20.128/25 via 192.168.20.129 mode routed vni 7"},
		{"edge", with(routed, func(o *netfab.Outside) {
			o.Edge, o.Uplink, o.EdgeAddr, o.Peers = true, "eth1", netip.MustParsePrefix("10.9.9.9/24"), []netip.Addr{peer.Next(), peer, peer}
		}), "addr 192.168.20.128/25 via 192.168.20.129 dev eth1 mode routed vni 7 peer 198.18.0.2 peer 198.18.0.3 edge edge-addr 10.9.9.9/24"},
		{"routed without a VNI", with(routed, func(o *netfab.Outside) { o.VNI = 0 }), ""},
		{"routed to itself", with(routed, func(o *netfab.Outside) { o.Peers = []netip.Addr{netip.MustParseAddr("198.18.0.1")} }), ""},
		{"an edge address in the block", with(routed, func(o *netfab.Outside) {
			o.Edge, o.Uplink, o.EdgeAddr = true, "eth1", netip.MustParsePrefix("192.168.20.200/24")
		}), ""},
	} {
		want := netfab.Desired{Outside: c.o, Underlay: netfab.Underlay{Addr: netip.MustParseAddr("198.18.0.1")}}
		normal, _, err := netfab.Normalize(want)
		if c.text == "" {
			if !errors.Is(err, netfab.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := normal.Outside.String(); got != c.text {
			t.Errorf("%s: %q, want %q", c.name, got, c.text)
		}
		if back, err := netfab.ParseOutside(c.text); err != nil || !back.Equal(normal.Outside) {
			t.Errorf("%s: %q came back as %q, %v", c.name, c.text, back, err)
		}
	}
}

func FuzzParseOutside(f *testing.F) {
	f.Add("addr 192.168.20.128/25 via 192.168.20.129 dev eth1 mode routed vni 7 peer 198.18.0.2 edge edge-addr 10.9.9.9/24 fenced")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := netfab.ParseOutside(text)
		if err != nil {
			return
		}
		if again, err := netfab.ParseOutside(o.String()); err != nil || !again.Equal(o) {
			t.Errorf("%q is %q, then %q, %v", text, o, again, err)
		}
	})
}
