//go:build linux

package linux

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/netfab"
)

// Devices of a network's namespace. The indexes are ours to choose in a new one.
const (
	bridgeName, bridgeIndex = "br0", 2
	outName, outIndex       = "out0", 3
	meshName, meshIndex     = "vx0", 4
	tableName               = "sf" // in the bridge and the ip family
	// linkGroup marks every device that we make, so that one message deletes all.
	linkGroup = 0x5f5f
)

// markPrefix is how every mark begins; the tag follows.
const markPrefix = "shakenfist "

// names makes and reads the names and marks of one owner.
type names struct {
	tag   string
	short string
}

func newNames(tag string) names { return names{tag: tag, short: netfab.ShortTag(tag)} }

func (n names) namespace(vni uint32) string { return netfab.NamespaceName(n.tag, vni) }

// vni reads the number out of a namespace's name.
func (n names) vni(namespace string) (uint32, bool) {
	hex, ok := strings.CutPrefix(namespace, "sf-"+n.short+"-")
	if !ok || len(hex) != 6 {
		return 0, false
	}
	vni, err := strconv.ParseUint(hex, 16, 24)
	return uint32(vni), err == nil && n.namespace(uint32(vni)) == namespace
}

// outside is the name of the host's bridge, table that of its nftables table,
// uplink that of the host's end of a router's veth pair.
func (n names) outside() string               { return "sfo-" + n.short }
func (n names) table() string                 { return "sf-" + n.short }
func (n names) fenced() string                { return "sfv" + n.short } // how names of the segment's ports of ours begin
func (n names) uplink(vni uint32) string      { return fmt.Sprintf("%s%06x", n.fenced(), vni) }
func (n names) sharedMesh() string            { return n.fenced() + "mesh" }
func (n names) mark() string                  { return markPrefix + n.tag }
func (n names) sharedAlias() string           { return n.mark() + " shared outside" }
func (n names) networkAlias(id string) string { return n.mark() + " network " + id }
func (n names) uplinkAlias(id string) string  { return n.mark() + " router of " + id }

// uplinkVNI reads the number out of such a device's name.
func (n names) uplinkVNI(device string) (uint32, bool) {
	hex, ok := strings.CutPrefix(device, n.fenced())
	if !ok || len(hex) != 6 {
		return 0, false
	}
	vni, err := strconv.ParseUint(hex, 16, 24)
	return uint32(vni), err == nil && n.uplink(uint32(vni)) == device
}

// outsideAlias keeps on the outside bridge what the segment should be, except
// what the kernel keeps: its peers.
func (n names) outsideAlias(o netfab.Outside) string {
	o.Peers = nil
	return n.mark() + " outside " + o.String()
}

// parseOutside reads it; ours is false for an alias without our mark.
func (n names) parseOutside(alias string) (o netfab.Outside, ours bool) {
	rest, ours := strings.CutPrefix(alias, n.mark()+" outside ")
	if !ours {
		return netfab.Outside{}, false
	}
	o, err := netfab.ParseOutside(rest)
	if err != nil {
		return netfab.Outside{}, true
	}
	return o, true
}

// networkID reads a loopback device's alias.
func (n names) networkID(alias string) (string, bool) {
	id, ok := strings.CutPrefix(alias, n.networkAlias(""))
	return id, ok && id != ""
}

// localMAC is a locally administered MAC that is the same whenever it is asked
// for, so that neighbours need not learn a new one.
func localMAC(parts ...any) net.HardwareAddr {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	return net.HardwareAddr{0x02, 0x5f, sum[0], sum[1], sum[2], sum[3]}
}

// outMAC goes with a router's outside address, whatever network has it.
func outMAC(a netip.Addr) net.HardwareAddr { return localMAC("outside", a) }

// bridgeMAC is br0's: the router's where the router is here, or where this host
// answers for one that is nowhere.
func bridgeMAC(n *netfab.Network) net.HardwareAddr {
	if n.Gateway == nil && !(n.DNS && n.Isolated) {
		return endMAC(n.ID)
	}
	return mac(n.Router.MAC)
}

// endMAC is br0's where it is nobody's router.
func endMAC(network string) net.HardwareAddr { return localMAC("bridge", network) }

// mac parses a MAC of 6 bytes; nil for what is none, which Normalize excludes.
func mac(s string) net.HardwareAddr {
	if m, err := net.ParseMAC(s); err == nil && len(m) == 6 {
		return m
	}
	return nil
}

// tapMAC is the host's side of a port: the guest's with the first byte changed,
// so that the bridge never takes it for the guest's own.
func tapMAC(p netfab.Port) net.HardwareAddr {
	m := mac(p.MAC)
	m[0] = 0xfe
	if mac(p.MAC)[0] == 0xfe {
		m[0] = 0xfa
	}
	return m
}

// baseAlias keeps on br0 what the kernel has no other place for.
func baseAlias(n *netfab.Network) string {
	alias := fmt.Sprintf("prefix %s router %s %s", n.Prefix, n.Router.Addr, n.Router.MAC)
	if n.DNS {
		alias += " dns"
	}
	if n.Isolated {
		alias += " isolated"
	}
	return alias
}

// parseBase reads it, and is false for what baseAlias does not write.
func parseBase(alias string, n *netfab.Network) bool {
	f := strings.Fields(alias)
	if len(f) < 5 || f[0] != "prefix" || f[2] != "router" {
		return false
	}
	n.DNS, n.Isolated = slices.Contains(f[5:], "dns"), slices.Contains(f[5:], "isolated")
	var err1, err2 error
	n.Prefix, err1 = netip.ParsePrefix(f[1])
	n.Router.Addr, err2 = netip.ParseAddr(f[3])
	n.Router.MAC = f[4]
	return err1 == nil && err2 == nil && n.Prefix.Addr().Is4() && n.Router.Addr.Is4() && mac(n.Router.MAC) != nil
}

// portAlias keeps on a tap whose it is.
func portAlias(p netfab.Port) string {
	if !p.Addr.IsValid() {
		return fmt.Sprintf("port %s %s", p.ID, p.MAC)
	}
	return fmt.Sprintf("port %s %s %s", p.ID, p.MAC, p.Addr)
}

// parsePort reads it, and is false for what portAlias does not write.
func parsePort(alias string) (p netfab.Port, ok bool) {
	f := strings.Fields(alias)
	if len(f) < 3 || len(f) > 4 || f[0] != "port" {
		return p, false
	}
	p.ID, p.MAC = f[1], f[2]
	if len(f) == 4 {
		addr, err := netip.ParseAddr(f[3])
		if err != nil || !addr.Is4() {
			return p, false
		}
		p.Addr = addr
	}
	return p, mac(p.MAC) != nil
}

// gatewayAlias keeps on out0 what the router should be.
func gatewayAlias(o netfab.Outside, g *netfab.Gateway) string {
	return fmt.Sprintf("gateway %s via %s nat %t", netip.PrefixFrom(g.Addr, o.Whole().Bits()), o.Router(), g.NAT)
}

// parseGateway reads it; the gateway is nil for what gatewayAlias does not write.
func parseGateway(alias string) (p netip.Prefix, via netip.Addr, g *netfab.Gateway) {
	f := strings.Fields(alias)
	if len(f) != 6 || f[0] != "gateway" {
		return p, via, nil
	}
	p, err1 := netip.ParsePrefix(f[1])
	via, err2 := netip.ParseAddr(f[3])
	if err1 != nil || err2 != nil || !p.Addr().Is4() || !via.Is4() {
		return p, via, nil
	}
	return p, via, &netfab.Gateway{Addr: p.Addr(), NAT: f[5] == "true"}
}
