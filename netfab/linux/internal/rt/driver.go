//go:build linux

package rt

import (
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"github.com/mdlayher/netlink"
)

// Attribute numbers of linux/if_link.h that x/sys lacks or that differ by kind.
const (
	vxlanID, vxlanLocal, vxlanLearning, vxlanAgeing, vxlanPort, vxlanUDPCsum = 1, 4, 7, 8, 15, 18
	bridgeForwardDelay, bridgeSTP, bridgeSnooping                            = 1, 5, 23
	portHairpin, portLearning, portUnicastFlood, portNeighSupp               = 4, 8, 9, 32
)

// VXLAN are the settings of a VXLAN device.
type VXLAN struct {
	VNI   uint32
	Local netip.Addr
	Port  uint16
	Learn bool
	// Ageing is for how many seconds is remembered what was learned; 0 means the
	// kernel's default. Listings leave it out.
	Ageing uint32
}

var _ rtnetlink.LinkDriver = (*VXLAN)(nil)

// New returns an empty VXLAN.
func (*VXLAN) New() rtnetlink.LinkDriver { return &VXLAN{} }

// Kind returns "vxlan".
func (*VXLAN) Kind() string { return "vxlan" }

// Encode writes all settings.
func (v *VXLAN) Encode(ae *netlink.AttributeEncoder) error {
	ae.Uint32(vxlanID, v.VNI)
	ae.Bytes(vxlanLocal, v.Local.AsSlice())
	ae.Uint8(vxlanLearning, flag(v.Learn))
	ae.Bytes(vxlanPort, []byte{byte(v.Port >> 8), byte(v.Port)}) // big-endian
	ae.Uint8(vxlanUDPCsum, 1)
	if v.Ageing != 0 {
		ae.Uint32(vxlanAgeing, v.Ageing)
	}
	return nil
}

// Decode reads the settings that Encode writes.
func (v *VXLAN) Decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case vxlanID:
			v.VNI = ad.Uint32()
		case vxlanLocal:
			v.Local, _ = netip.AddrFromSlice(ad.Bytes())
		case vxlanLearning:
			v.Learn = ad.Uint8() != 0
		case vxlanPort:
			if b := ad.Bytes(); len(b) == 2 {
				v.Port = uint16(b[0])<<8 | uint16(b[1])
			}
		}
	}
	return nil
}

// Bridge makes a bridge that forwards at once, without spanning tree and
// without multicast snooping.
type Bridge struct{}

// New returns a Bridge.
func (*Bridge) New() rtnetlink.LinkDriver { return &Bridge{} }

// Kind returns "bridge".
func (*Bridge) Kind() string { return "bridge" }

// Encode writes the settings.
func (*Bridge) Encode(ae *netlink.AttributeEncoder) error {
	ae.Uint32(bridgeForwardDelay, 0)
	ae.Uint32(bridgeSTP, 0)
	ae.Uint8(bridgeSnooping, 0)
	return nil
}

// Decode reads nothing.
func (*Bridge) Decode(*netlink.AttributeDecoder) error { return nil }

// Port are the settings of a bridge's port.
type Port struct {
	Hairpin  bool
	Learning bool
	Flood    bool // of unicast to unknown MACs
	Suppress bool // answer ARP for permanent neighbours of the bridge
}

var _ rtnetlink.LinkSlaveDriver = (*Port)(nil)

// Slave marks the settings as those of a port.
func (*Port) Slave() {}

// New returns an empty Port.
func (*Port) New() rtnetlink.LinkDriver { return &Port{} }

// Kind returns "bridge".
func (*Port) Kind() string { return "bridge" }

// Encode writes all settings.
func (p *Port) Encode(ae *netlink.AttributeEncoder) error {
	ae.Uint8(portHairpin, flag(p.Hairpin))
	ae.Uint8(portLearning, flag(p.Learning))
	ae.Uint8(portUnicastFlood, flag(p.Flood))
	ae.Uint8(portNeighSupp, flag(p.Suppress))
	return nil
}

// Decode reads the settings that Encode writes.
func (p *Port) Decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case portHairpin:
			p.Hairpin = ad.Uint8() != 0
		case portLearning:
			p.Learning = ad.Uint8() != 0
		case portUnicastFlood:
			p.Flood = ad.Uint8() != 0
		case portNeighSupp:
			p.Suppress = ad.Uint8() != 0
		}
	}
	return nil
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// Veth is the far end of a veth pair, born in a namespace of its own. Its alias
// and group are set there afterwards.
func Veth(peer Link, nsFd int) rtnetlink.LinkDriver {
	m := message(peer)
	m.Attributes.NetNS = rtnetlink.NetNSForFD(uint32(nsFd))
	return &driver.Veth{PeerInfo: m}
}
