//go:build linux

package linux

import (
	"net/netip"
	"testing"

	"github.com/shakenfist/cloud/netfab"
)

// Aliases come back as they went, and are those of interfaces: below 256 bytes.
func TestAliases(t *testing.T) {
	long := "0123456789012345678901234567890123456789012345678901234567890123"
	names := newNames(long)
	n := network(7, 2)
	n.ID = long
	n.Ports[0].ID = long
	n.Ports[1].Addr = netip.Addr{}
	o := netfab.Outside{Prefix: outside.Prefix, Uplink: "uplink-15-bytes", Fenced: true, Mode: netfab.Routed, VNI: 0xffffff,
		Edge: true, EdgeAddr: netip.MustParsePrefix("203.200.113.200/24")}

	var base netfab.Network
	if !parseBase(baseAlias(&n), &base) || base.Prefix != n.Prefix || base.Router != n.Router {
		t.Errorf("base: %+v", base)
	}
	for _, p := range n.Ports {
		if got, ok := parsePort(portAlias(p)); !ok || got != p {
			t.Errorf("port: %+v, want %+v", got, p)
		}
	}
	if p, via, g := parseGateway(gatewayAlias(o, n.Gateway)); g == nil || g.Addr != n.Gateway.Addr || !g.NAT || p.Bits() != 24 || via != netfab.First(o.Prefix) {
		t.Errorf("gateway: %v %v %+v", p, via, g)
	}
	if got, ours := names.parseOutside(names.outsideAlias(o)); !ours || !got.Equal(o) {
		t.Errorf("outside: %+v, want %+v", got, o)
	}
	if id, ours := names.networkID(names.networkAlias(n.ID)); !ours || id != n.ID {
		t.Errorf("network: %q", id)
	}
	if _, ours := newNames("other").networkID(names.networkAlias(n.ID)); ours {
		t.Error("somebody else's network is ours")
	}
	for _, alias := range []string{baseAlias(&n), portAlias(n.Ports[0]), gatewayAlias(o, n.Gateway),
		names.outsideAlias(o), names.networkAlias(n.ID), names.uplinkAlias(n.ID)} {
		if len(alias) > 255 {
			t.Errorf("alias of %d bytes: %s", len(alias), alias)
		}
	}
	for _, vni := range []uint32{1, 0xffffff} {
		if len(names.uplink(vni)) > 15 || len(names.outside()) > 15 || len(names.sharedMesh()) > 15 {
			t.Errorf("%s, %s: too long for interfaces", names.uplink(vni), names.outside())
		}
		if got, ok := names.vni(names.namespace(vni)); !ok || got != vni {
			t.Errorf("VNI %d came back as %d", vni, got)
		}
	}
}

// Anybody can write an alias. Whatever is there, what comes out can be used.
func FuzzAliases(f *testing.F) {
	n := network(1, 1)
	names := newNames("cluster/node")
	for _, alias := range []string{baseAlias(&n), portAlias(n.Ports[0]), gatewayAlias(outside, n.Gateway),
		names.outsideAlias(outside), names.networkAlias(n.ID), names.mark() + " outside addr 10.0.0.0/8 mode routed vni 7 edge edge-addr fd00::1/64", "prefix fd00::/64 router fd00::1 02:00:00:00:00:01", "port a b c"} {
		f.Add(alias)
	}
	f.Fuzz(func(t *testing.T, alias string) {
		var base netfab.Network
		if parseBase(alias, &base) {
			base.Gateway = &netfab.Gateway{Addr: base.Router.Addr}
			router(&base)
			filter(&base)
		}
		if p, ok := parsePort(alias); ok {
			portElements(p)
			tapMAC(p)
		}
		if p, via, g := parseGateway(alias); g != nil {
			outMAC(p.Addr())
			via.As4()
		}
		if o, ours := names.parseOutside(alias); ours && o.Prefix.IsValid() {
			hostTable(names, o)
			hostAddrs(o)
			fenceTables(names, o)
			segmentMAC(names, o)
		}
		_, _ = names.networkID(alias) // any answer but a panic
	})
}
