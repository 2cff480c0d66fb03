package netfab

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// DefaultMTU is a network's MTU in bytes where its MTU is 0: what VXLAN leaves
// of an Ethernet underlay's 1500.
const DefaultMTU = 1450

// VXLANOverhead is what a VXLAN over IPv4 takes of the underlay's MTU, in bytes.
const VXLANOverhead = 50

// Normalize returns want in its one normal form: defaults filled in, MACs in
// lower case, lists sorted, nil rather than empty. Networks that contradict
// themselves, each other or the host are left out and reported, one
// *NetworkError each, sorted by ID; the error is about the host's own part, and
// then nothing of want can be used. Every error is an ErrInvalid. want itself is
// not changed.
func Normalize(want Desired) (Desired, []*NetworkError, error) {
	if err := checkHost(want); err != nil {
		return Desired{}, nil, err
	}
	outside, err := normalOutside(want)
	if err != nil {
		return Desired{}, nil, err
	}
	want.Outside = outside
	out := Desired{Underlay: want.Underlay, Outside: outside}
	reasons := clashes(want)
	var bad []*NetworkError
	for _, n := range want.Networks {
		n, err := normalNetwork(n, want)
		if err == nil && reasons[n.ID] != "" {
			err = invalidf("%s", reasons[n.ID])
		}
		if err != nil {
			bad = append(bad, &NetworkError{Network: n.ID, Err: err})
			continue
		}
		out.Networks = append(out.Networks, n)
	}
	slices.SortFunc(out.Networks, func(a, b Network) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortStableFunc(bad, func(a, b *NetworkError) int { return cmp.Compare(a.Network, b.Network) })
	return out, bad, nil
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// checkHost checks what is not part of any network.
func checkHost(want Desired) error {
	u := want.Underlay
	switch {
	case u.Addr.IsValid() && (!u.Addr.Is4() || u.Addr.IsMulticast() || u.Addr.IsUnspecified()):
		return invalidf("underlay address %s is not an IPv4 unicast address", u.Addr)
	case u.MTU != 0 && (u.MTU < minMTU+VXLANOverhead || u.MTU > maxMTU):
		return invalidf("underlay MTU %d is not within %d to %d", u.MTU, minMTU+VXLANOverhead, maxMTU)
	}
	return nil
}

// MTUs in bytes: the least that IPv4 guests can live with (every host must take
// 576), and the most that an interface has.
const (
	minMTU = 576
	maxMTU = 65535
)

// clashes finds what several networks want and only one can have: the reason by ID.
func clashes(want Desired) map[string]string {
	reasons := map[string]string{}
	owner := map[string]string{} // what -> ID of the first network that wants it
	claim := func(id, what string) {
		if first, taken := owner[what]; taken {
			for _, loser := range []string{first, id} {
				reasons[loser] = what + " is wanted twice (networks " + first + " and " + id + ")"
			}
			return
		}
		owner[what] = id
	}
	shared := want.Outside.Mode == Routed
	for _, n := range want.Networks {
		if shared && n.VNI == want.Outside.VNI {
			reasons[n.ID] = fmt.Sprintf("VNI %d is that of the outside segment", n.VNI)
		}
		claim(n.ID, "ID "+n.ID)
		claim(n.ID, fmt.Sprintf("VNI %d", n.VNI))
		if n.Gateway == nil {
			continue
		}
		claim(n.ID, "outside address "+n.Gateway.Addr.String())
		for _, f := range n.Gateway.Floating {
			claim(n.ID, "outside address "+f.Outside.String())
		}
	}
	return reasons
}

// normalNetwork checks one network and returns a copy in normal form; the copy
// carries the ID even when there is an error.
func normalNetwork(n Network, want Desired) (Network, error) {
	if n.MTU == 0 {
		n.MTU = DefaultMTU
	}
	if err := checkBase(&n, want); err != nil {
		return n, err
	}
	seen := members{network: n, used: map[string]string{}}
	seen.take("MAC "+n.Router.MAC, "the router")
	seen.take("address "+n.Router.Addr.String(), "the router")
	ports, err := normalPorts(n.Ports, &seen)
	if err != nil {
		return n, err
	}
	remotes, err := normalRemotes(n.Remote, &seen, want.Underlay.Addr)
	if err != nil {
		return n, err
	}
	gateway, err := normalGateway(n, want.Outside)
	if err != nil {
		return n, err
	}
	n.Ports, n.Remote, n.Gateway = ports, remotes, gateway
	return n, nil
}

// checkBase checks what a network is without its members.
func checkBase(n *Network, want Desired) error {
	switch {
	case !validID(n.ID):
		return invalidf("network ID %q: want 1 to 64 letters, digits and dashes", n.ID)
	case n.VNI == 0 || n.VNI >= 1<<24:
		return invalidf("VNI %d is not within 1 to %d", n.VNI, 1<<24-1)
	case n.MTU < minMTU || n.MTU > maxMTU:
		return invalidf("MTU %d is not within %d to %d", n.MTU, minMTU, maxMTU)
	case want.Underlay.Addr.IsValid() && want.Underlay.MTU != 0 && n.MTU > want.Underlay.MTU-VXLANOverhead:
		return invalidf("MTU %d is more than the underlay's %d leaves (%d)", n.MTU, want.Underlay.MTU, want.Underlay.MTU-VXLANOverhead)
	}
	if n.Isolated && n.Gateway != nil {
		return invalidf("the network is isolated and has a gateway")
	}
	if err := checkPrefix(n.Prefix); err != nil {
		return err
	}
	if o := want.Outside.Whole(); o.IsValid() && o.Overlaps(n.Prefix) {
		return invalidf("prefix %s overlaps the outside's %s: its router could not tell them apart", n.Prefix, o)
	}
	if !hostAddr(n.Prefix, n.Router.Addr) {
		return invalidf("router address %v is not a host address of %s", n.Router.Addr, n.Prefix)
	}
	mac, err := normalMAC(n.Router.MAC)
	if err != nil {
		return fmt.Errorf("router: %w", err)
	}
	n.Router.MAC = mac
	return nil
}

// members notices two members of a network that want the same thing.
type members struct {
	network Network
	used    map[string]string // what -> by whom
}

func (m *members) take(what, who string) error {
	if other, taken := m.used[what]; taken {
		return invalidf("%s of %s is already that of %s", what, who, other)
	}
	m.used[what] = who
	return nil
}

// member checks the MAC and the address of one NIC.
func (m *members) member(who, mac string, addr netip.Addr, needAddr bool) (string, error) {
	mac, err := normalMAC(mac)
	if err != nil {
		return "", fmt.Errorf("%s: %w", who, err)
	}
	if err := m.take("MAC "+mac, who); err != nil {
		return "", err
	}
	if !addr.IsValid() && !needAddr {
		return mac, nil
	}
	if !hostAddr(m.network.Prefix, addr) {
		return "", invalidf("address %v of %s is not a host address of %s", addr, who, m.network.Prefix)
	}
	return mac, m.take("address "+addr.String(), who)
}

func normalPorts(ports []Port, m *members) ([]Port, error) {
	var out []Port
	for _, p := range ports {
		who := "port " + p.ID
		if !validID(p.ID) {
			return nil, invalidf("port ID %q: want 1 to 64 letters, digits and dashes", p.ID)
		}
		if err := m.take("ID "+p.ID, who); err != nil {
			return nil, err
		}
		mac, err := m.member(who, p.MAC, p.Addr, false)
		if err != nil {
			return nil, err
		}
		p.MAC = mac
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Port) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func normalRemotes(remotes []Remote, m *members, underlay netip.Addr) ([]Remote, error) {
	var out []Remote
	for _, r := range remotes {
		who := "remote " + r.MAC
		switch {
		case !underlay.IsValid():
			return nil, invalidf("%s: this host has no underlay address", who)
		case !r.VTEP.Is4() || r.VTEP.IsUnspecified() || r.VTEP.IsMulticast():
			return nil, invalidf("%s: VTEP %v is not an IPv4 unicast address", who, r.VTEP)
		case r.VTEP == underlay:
			return nil, invalidf("%s: VTEP %v is this host's own", who, r.VTEP)
		}
		if isRouter(r, m.network) { // once: from now on its place is taken
			r.MAC = m.network.Router.MAC
			if err := m.take("router", who); err != nil {
				return nil, err
			}
			out = append(out, r)
			continue
		}
		mac, err := m.member(who, r.MAC, r.Addr, false)
		if err != nil {
			return nil, err
		}
		r.MAC = mac
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Remote) int { return cmp.Compare(a.MAC, b.MAC) })
	return out, nil
}

// isRouter tells whether a remote is the network's router on another host.
func isRouter(r Remote, n Network) bool {
	mac, err := normalMAC(r.MAC)
	return err == nil && n.Gateway == nil && !n.Isolated && mac == n.Router.MAC && r.Addr == n.Router.Addr
}

// normalGateway checks the outside half; that no two networks want the same
// outside address is the business of clashes.
func normalGateway(n Network, o Outside) (*Gateway, error) {
	if n.Gateway == nil {
		return nil, nil
	}
	g := *n.Gateway
	outside := o.Prefix
	if !outside.IsValid() {
		return nil, invalidf("a gateway is wanted but this host has no outside prefix")
	}
	if !poolAddr(o, g.Addr) || g.Addr == o.Router() {
		return nil, invalidf("gateway address %v is not an address for routers in %s", g.Addr, outside)
	}
	g.Floating = slices.Clone(g.Floating)
	if len(g.Floating) == 0 {
		g.Floating = nil
	}
	inside := map[netip.Addr]bool{}
	for _, f := range g.Floating {
		switch {
		case !poolAddr(o, f.Outside) || f.Outside == o.Router():
			return nil, invalidf("floating address %v is not an address for routers in %s", f.Outside, outside)
		case !hostAddr(n.Prefix, f.Inside) || f.Inside == n.Router.Addr:
			return nil, invalidf("floating address %v leads to %v, which is not a guest's address in %s", f.Outside, f.Inside, n.Prefix)
		case inside[f.Inside]:
			return nil, invalidf("two floating addresses lead to %v", f.Inside)
		}
		inside[f.Inside] = true
	}
	slices.SortFunc(g.Floating, func(a, b Floating) int { return a.Outside.Compare(b.Outside) })
	return &g, nil
}

// First returns the first host address of a prefix: 10.0.0.1 of 10.0.0.0/24.
func First(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// hostAddr reports whether a is an address that a member of p can have: not the
// network's own, not the broadcast address.
func hostAddr(p netip.Prefix, a netip.Addr) bool {
	return a.Is4() && p.Contains(a) && a != p.Masked().Addr() && a != broadcast(p)
}

// poolAddr reports whether a router can have an address of the outside block:
// where that is part of a larger segment, its ends are nothing special.
func poolAddr(o Outside, a netip.Addr) bool {
	return a.Is4() && o.Prefix.Contains(a) && hostAddr(o.Whole(), a)
}

// broadcast is the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}

// notForGuests are blocks that mean something to every host's kernel.
var notForGuests = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

func checkPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid() || !p.Addr().Is4():
		return invalidf("prefix %v is not an IPv4 prefix", p)
	case p != p.Masked():
		return invalidf("prefix %s has bits set beyond its length (%s?)", p, p.Masked())
	case p.Bits() < 8 || p.Bits() > 30:
		return invalidf("prefix %s: want a length of 8 to 30", p)
	}
	for _, special := range notForGuests {
		if special.Overlaps(p) {
			return invalidf("prefix %s overlaps %s, which has a meaning of its own", p, special)
		}
	}
	return nil
}

func normalMAC(s string) (string, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", invalidf("MAC %q is not like 02:00:00:ab:cd:ef", s)
	}
	if mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return "", invalidf("MAC %s is not a unicast address", mac)
	}
	return mac.String(), nil
}

// validID keeps IDs printable, short enough for an interface's alias and free
// of what separates fields there.
func validID(id string) bool {
	if len(id) == 0 || len(id) > 64 {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}
