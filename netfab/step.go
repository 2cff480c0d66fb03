package netfab

import (
	"fmt"
	"strings"
)

// Op is what a Step does.
type Op string

// Ops. "set" makes what exists right, in place: guests stay connected.
const (
	StrayDel   Op = "stray del"
	NetworkDel Op = "network del"
	OutsideSet Op = "outside set"
	OutsideDel Op = "outside del"
	NetworkAdd Op = "network add"
	NetworkSet Op = "network set"
	PortDel    Op = "port del"
	PortAdd    Op = "port add"
	PortSet    Op = "port set"
	GatewayDel Op = "gateway del"
	GatewaySet Op = "gateway set"
	FloatDel   Op = "float del"
	FloatAdd   Op = "float add"
	RemoteDel  Op = "remote del"
	RemoteAdd  Op = "remote add"
)

// Step is one change of the host, with every choice made. Executing a step that
// is done already changes nothing.
type Step struct {
	Op Op
	// Network is the network's ID; empty for strays and the outside.
	Network string
	VNI     uint32
	// Want is the whole wanted network; set but for strays, the outside and
	// NetworkDel. It is shared between steps: read only.
	Want     *Network
	Port     Port     // PortAdd, PortSet, PortDel
	Floating Floating // FloatAdd, FloatDel
	Remote   Remote   // RemoteAdd, RemoteDel
	Underlay Underlay // NetworkAdd, NetworkSet
	Outside  Outside  // OutsideSet, GatewaySet
	Stray    string   // StrayDel
	// Why tells what a set repairs, where it is not visible in the rest.
	Why string
}

// String prints the step as one line in the manner of ip(8).
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Op))
	if s.Network != "" {
		fmt.Fprintf(&b, " %s vni %d", s.Network, s.VNI)
	}
	switch s.Op {
	case StrayDel:
		b.WriteString(" " + s.Stray)
	case OutsideSet:
		b.WriteString(" " + s.Outside.String())
	case NetworkAdd, NetworkSet:
		b.WriteString(" " + baseText(*s.Want))
		if s.Underlay.Addr.IsValid() {
			fmt.Fprintf(&b, " vxlan local %s dstport 4789", s.Underlay.Addr)
		}
	case PortAdd, PortSet, PortDel:
		b.WriteString(" " + portText(s.Port))
	case GatewaySet:
		b.WriteString(" " + gatewayText(*s.Want.Gateway))
	case FloatAdd, FloatDel:
		b.WriteString(" " + floatText(s.Floating))
	case RemoteAdd, RemoteDel:
		b.WriteString(" " + remoteText(s.Remote))
	}
	if s.Why != "" {
		b.WriteString(" # " + s.Why)
	}
	return b.String()
}

func baseText(n Network) string {
	text := fmt.Sprintf("%s mtu %d router %s lladdr %s", n.Prefix, n.MTU, n.Router.Addr, n.Router.MAC)
	if n.DNS {
		text += " dns"
	}
	if n.Isolated {
		text += " isolated"
	}
	return text
}

func portText(p Port) string {
	text := p.ID + " lladdr " + p.MAC
	if p.Addr.IsValid() {
		text += " addr " + p.Addr.String()
	}
	return text
}

func gatewayText(g Gateway) string {
	text := "addr " + g.Addr.String()
	if g.NAT {
		text += " masquerade"
	}
	return text
}

func floatText(f Floating) string { return fmt.Sprintf("%s to %s", f.Outside, f.Inside) }

func remoteText(r Remote) string {
	text := "lladdr " + r.MAC
	if r.Addr.IsValid() {
		text += " addr " + r.Addr.String()
	}
	return text + " dst " + r.VTEP.String()
}
