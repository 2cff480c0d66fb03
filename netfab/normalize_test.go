package netfab

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestNormalizeFillsIn(t *testing.T) {
	d := example()
	d.Networks[0], d.Networks[1] = d.Networks[1], d.Networks[0]
	d.Networks[0].MTU = 0
	d.Networks[1].Ports[0], d.Networks[1].Ports[1] = d.Networks[1].Ports[1], d.Networks[1].Ports[0]
	d.Networks[1].Ports[0].MAC = "02-00-00-00-07-0B"
	d.Networks[0].Ports = []Port{}
	got, bad, err := Normalize(d)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	if got.Networks[0].ID != "blue" || got.Networks[1].MTU != DefaultMTU || got.Networks[1].Ports != nil {
		t.Errorf("networks: %+v", got.Networks)
	}
	if p := got.Networks[0].Ports; p[0].ID != "blue-a" || p[1].MAC != "02:00:00:00:07:0b" {
		t.Errorf("ports: %+v", p)
	}
	if d.Networks[1].Ports[0].MAC != "02-00-00-00-07-0B" {
		t.Error("Normalize changed its argument")
	}
}

// Each case breaks network blue of the example, and names a part of the error.
func TestNormalizeRefusesNetwork(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		says   string
		change func(n *Network)
	}{
		{`network ID ""`, func(n *Network) { n.ID = "" }},
		{`network ID "a b"`, func(n *Network) { n.ID = "a b" }},
		{"VNI 0", func(n *Network) { n.VNI = 0 }},
		{"VNI 16777216", func(n *Network) { n.VNI = 1 << 24 }},
		{"MTU 575", func(n *Network) { n.MTU = 575 }},
		{"MTU 1451 is more than the underlay's 1500 leaves (1450)", func(n *Network) { n.MTU = 1451 }},
		{"prefix invalid Prefix", func(n *Network) { n.Prefix = netip.Prefix{} }},
		{"prefix fd00::/64", func(n *Network) { n.Prefix = netip.MustParsePrefix("fd00::/64") }},
		{"prefix 10.0.0.1/24 has bits set beyond its length (10.0.0.0/24?)", func(n *Network) { n.Prefix = netip.MustParsePrefix("10.0.0.1/24") }},
		{"prefix 10.0.0.0/31", func(n *Network) { n.Prefix = netip.MustParsePrefix("10.0.0.0/31") }},
		{"overlaps 127.0.0.0/8", func(n *Network) { n.Prefix = netip.MustParsePrefix("127.0.1.0/24") }},
		{"overlaps 169.254.0.0/16", func(n *Network) { n.Prefix = netip.MustParsePrefix("169.254.0.0/24") }},
		{"overlaps 224.0.0.0/3", func(n *Network) { n.Prefix = netip.MustParsePrefix("224.0.0.0/24") }},
		{"overlaps the outside's", func(n *Network) { n.Prefix = netip.MustParsePrefix("192.168.0.0/16") }},
		{"router address 10.0.0.0", func(n *Network) { n.Router.Addr = addr("10.0.0.0") }},
		{"router address 10.0.0.255", func(n *Network) { n.Router.Addr = addr("10.0.0.255") }},
		{"router address 10.0.1.1", func(n *Network) { n.Router.Addr = addr("10.0.1.1") }},
		{`router: netfab: invalid desired state: MAC "x"`, func(n *Network) { n.Router.MAC = "x" }},
		{"MAC 01:00:00:00:00:01 is not a unicast", func(n *Network) { n.Ports[0].MAC = "01:00:00:00:00:01" }},
		{"MAC 00:00:00:00:00:00 is not a unicast", func(n *Network) { n.Ports[0].MAC = "00:00:00:00:00:00" }},
		{`port ID "a b"`, func(n *Network) { n.Ports[0].ID = "a b" }},
		{"ID blue-a of port blue-a is already", func(n *Network) { n.Ports[1].ID = "blue-a" }},
		{"MAC 02:00:01:00:00:07 of port blue-a is already that of the router", func(n *Network) { n.Ports[0].MAC = n.Router.MAC }},
		{"MAC 02:00:00:00:07:0a of port blue-b is already that of port blue-a", func(n *Network) { n.Ports[1].MAC = "02:00:00:00:07:0A" }},
		{"address 10.0.0.1 of port blue-a is already that of the router", func(n *Network) { n.Ports[0].Addr = n.Router.Addr }},
		{"address 10.0.0.10 of port blue-b is already that of port blue-a", func(n *Network) { n.Ports[1].Addr = n.Ports[0].Addr }},
		{"address 10.0.1.10 of port blue-a is not a host address", func(n *Network) { n.Ports[0].Addr = addr("10.0.1.10") }},
		{"address 10.0.0.10 of remote 02:00:00:00:07:0c is already", func(n *Network) { n.Remote[0].Addr = n.Ports[0].Addr }},
		{"VTEP 172.16.0.1 is this host's own", func(n *Network) { n.Remote[0].VTEP = addr("172.16.0.1") }},
		{"VTEP invalid IP", func(n *Network) { n.Remote[0].VTEP = netip.Addr{} }},
		{"gateway address 192.168.20.1", func(n *Network) { n.Gateway.Addr = addr("192.168.20.1") }},
		{"gateway address 192.168.21.1", func(n *Network) { n.Gateway.Addr = addr("192.168.21.1") }},
		{"floating address 192.168.20.1 ", func(n *Network) { n.Gateway.Floating[0].Outside = addr("192.168.20.1") }},
		{"leads to 10.0.0.1, which is not a guest's", func(n *Network) { n.Gateway.Floating[0].Inside = n.Router.Addr }},
		{"two floating addresses lead to 10.0.0.10", func(n *Network) {
			n.Gateway.Floating = append(n.Gateway.Floating, Floating{Outside: addr("192.168.20.101"), Inside: addr("10.0.0.10")})
		}},
		{"outside address 192.168.20.2 is wanted twice", func(n *Network) { n.Gateway.Floating[0].Outside = n.Gateway.Addr }},
		{"VNI 8 is wanted twice (networks blue and green)", func(n *Network) { n.VNI = 8 }},
		{"ID green is wanted twice", func(n *Network) { n.ID = "green" }},
	} {
		d := clone(example())
		c.change(&d.Networks[0])
		got, bad, err := Normalize(d)
		if err != nil {
			t.Errorf("%s: the whole was refused: %v", c.says, err)
			continue
		}
		if len(bad) == 0 || !errors.Is(bad[0], ErrInvalid) || !strings.Contains(bad[0].Error(), c.says) {
			t.Errorf("refused with %v, want ErrInvalid with %q", bad, c.says)
		}
		if want := len(d.Networks) - len(bad); len(got.Networks) != want {
			t.Errorf("%s: %d networks are left, want %d", c.says, len(got.Networks), want)
		}
	}
}

func TestNormalizeRefusesHost(t *testing.T) {
	for _, c := range []struct {
		says   string
		change func(d *Desired)
	}{
		{"underlay address fd00::1", func(d *Desired) { d.Underlay.Addr = netip.MustParseAddr("fd00::1") }},
		{"underlay MTU 600", func(d *Desired) { d.Underlay.MTU = 600 }},
		{`uplink "no/name"`, func(d *Desired) { d.Outside.Uplink = "no/name" }},
		{"outside: netfab: invalid desired state: prefix 192.168.20.1/24", func(d *Desired) { d.Outside.Prefix = netip.MustParsePrefix("192.168.20.1/24") }},
	} {
		d := clone(example())
		c.change(&d)
		if _, _, err := Normalize(d); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("refused with %v, want ErrInvalid with %q", err, c.says)
		}
	}
}

func TestNamesFit(t *testing.T) {
	if tap := TapName("any"); len(tap) > 15 {
		t.Errorf("%s is too long for an interface", tap)
	}
	if got := NamespaceName("cluster/node", 42); len(got) != len("sf-123456-00002a") || !strings.HasSuffix(got, "-00002a") {
		t.Errorf("namespace %s", got)
	}
	if TapName("00000000-0000-4000-8000-000000000001") == TapName("00000000-0000-4000-8000-000000000002") {
		t.Error("IDs that begin alike have one tap")
	}
}
