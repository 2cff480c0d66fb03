package netfab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Router returns the default gateway of the routers on the segment.
func (o Outside) Router() netip.Addr {
	if o.Via.IsValid() {
		return o.Via
	}
	return First(o.Whole())
}

// Whole returns the prefix of the whole segment.
func (o Outside) Whole() netip.Prefix {
	if o.Segment.IsValid() {
		return o.Segment
	}
	return o.Prefix
}

// Hosted reports whether this host has the segment's first address and forwards
// between the segment and the world.
func (o Outside) Hosted() bool { return o.Mode == Local || o.Mode == Routed && o.Edge }

// Equal reports whether o and p want the same of the host; both are in normal form.
func (o Outside) Equal(p Outside) bool {
	return o.String() == p.String()
}

// sameForRouters reports whether o and p are the same to a router on the segment.
func (o Outside) sameForRouters(p Outside) bool {
	return o.Prefix == p.Prefix && o.Whole() == p.Whole() && o.Router() == p.Router() && o.Mode == p.Mode
}

// String prints all of o as one line; Outsides that print alike are equal.
func (o Outside) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "addr %s via %s", o.Prefix, o.Router())
	if o.Segment.IsValid() {
		fmt.Fprintf(&b, " segment %s", o.Segment)
	}
	if o.Uplink != "" {
		b.WriteString(" dev " + o.Uplink)
	}
	if o.Mode != Local {
		b.WriteString(" mode " + string(o.Mode))
	}
	if o.VNI != 0 {
		fmt.Fprintf(&b, " vni %d", o.VNI)
	}
	for _, p := range o.Peers {
		b.WriteString(" peer " + p.String())
	}
	if o.Edge {
		b.WriteString(" edge")
	}
	if o.EdgeAddr.IsValid() {
		b.WriteString(" edge-addr " + o.EdgeAddr.String())
	}
	if o.Fenced {
		b.WriteString(" fenced")
	}
	return b.String()
}

// ParseOutside reads what String prints.
func ParseOutside(text string) (Outside, error) {
	var o Outside
	var via netip.Addr
	f := strings.Fields(text)
	for len(f) > 0 {
		word := f[0]
		f = f[1:]
		switch word {
		case "edge":
			o.Edge = true
			continue
		case "fenced":
			o.Fenced = true
			continue
		}
		if len(f) == 0 {
			return Outside{}, invalidf("outside %q: nothing follows %q", text, word)
		}
		if err := o.parse(word, f[0], &via); err != nil {
			return Outside{}, fmt.Errorf("outside %q: %w", text, err)
		}
		f = f[1:]
	}
	for _, a := range append([]netip.Addr{o.Prefix.Addr(), o.Whole().Addr(), via, o.EdgeAddr.Addr()}, o.Peers...) {
		if a.IsValid() && !a.Is4() {
			return Outside{}, invalidf("outside %q: %s is not IPv4", text, a)
		}
	}
	if !o.Prefix.IsValid() {
		return Outside{}, invalidf("outside %q has no prefix", text)
	}
	if via.IsValid() && via != First(o.Whole()) {
		o.Via = via
	}
	return o, nil
}

// parse reads one property that has a value.
func (o *Outside) parse(word, value string, via *netip.Addr) (err error) {
	switch word {
	case "addr":
		o.Prefix, err = netip.ParsePrefix(value)
	case "via":
		*via, err = netip.ParseAddr(value)
	case "segment":
		o.Segment, err = netip.ParsePrefix(value)
	case "dev":
		o.Uplink = value
	case "mode":
		o.Mode = Mode(value)
	case "vni":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 24)
		o.VNI = uint32(n)
	case "peer":
		var p netip.Addr
		p, err = netip.ParseAddr(value)
		o.Peers = append(o.Peers, p)
	case "edge-addr":
		o.EdgeAddr, err = netip.ParsePrefix(value)
	default:
		err = invalidf("%q means nothing", word)
	}
	return err
}

// normalOutside checks the outside and returns it in normal form.
func normalOutside(want Desired) (Outside, error) {
	o := want.Outside
	if !o.Prefix.IsValid() {
		return Outside{}, nil
	}
	if err := checkPrefix(o.Prefix); err != nil {
		return o, fmt.Errorf("outside: %w", err)
	}
	if len(o.Uplink) > 15 || strings.ContainsAny(o.Uplink, "/ \t\n") {
		return o, invalidf("uplink %q is not an interface name", o.Uplink)
	}
	o.Peers = slices.Clone(o.Peers)
	slices.SortFunc(o.Peers, netip.Addr.Compare)
	if o.Peers = slices.Compact(o.Peers); len(o.Peers) == 0 {
		o.Peers = nil
	}
	var err error
	switch o.Mode {
	case Local:
		err = checkLocal(o, want)
	case L2:
		err = checkL2(o)
		if o.Segment == o.Prefix {
			o.Segment = netip.Prefix{}
		}
		if o.Via == First(o.Whole()) {
			o.Via = netip.Addr{}
		}
	case Routed:
		err = checkRouted(o, want)
	default:
		err = invalidf("outside mode %q: want none, %q or %q", o.Mode, L2, Routed)
	}
	return o, err
}

func checkLocal(o Outside, want Desired) error {
	if o.Via.IsValid() || o.Segment.IsValid() || o.VNI != 0 || o.Edge || o.EdgeAddr.IsValid() {
		return invalidf("outside: an outside without a mode has a prefix, an uplink and peers, and may be fenced: %s", o)
	}
	return checkPeers(o, want)
}

func checkL2(o Outside) error {
	switch {
	case o.Uplink == "":
		return invalidf("outside: mode %s needs an uplink", L2)
	case o.VNI != 0 || o.Peers != nil || o.Edge || o.EdgeAddr.IsValid():
		return invalidf("outside: mode %s has no VNI, peers or edge: %s", L2, o)
	}
	if err := checkPrefix(o.Whole()); err != nil {
		return fmt.Errorf("outside: %w", err)
	}
	if w := o.Whole(); w.Bits() > o.Prefix.Bits() || !w.Contains(o.Prefix.Addr()) {
		return invalidf("outside: %s is not part of the segment %s", o.Prefix, w)
	}
	if !hostAddr(o.Whole(), o.Router()) {
		return invalidf("outside: gateway %v is not a host address of the segment %s", o.Router(), o.Whole())
	}
	return nil
}

func checkRouted(o Outside, want Desired) error {
	switch {
	case !want.Underlay.Addr.IsValid():
		return invalidf("outside: mode %s needs an underlay", Routed)
	case o.VNI == 0 || o.VNI >= 1<<24:
		return invalidf("outside: VNI %d is not within 1 to %d", o.VNI, 1<<24-1)
	case o.Via.IsValid() || o.Segment.IsValid():
		return invalidf("outside: mode %s has no gateway or segment of others: %s", Routed, o)
	case o.EdgeAddr.IsValid() && (!o.EdgeAddr.Addr().Is4() || o.Uplink == "" || o.Prefix.Contains(o.EdgeAddr.Addr())):
		return invalidf("outside: the edge's address %s: want an IPv4 address beyond %s, and an uplink to have it", o.EdgeAddr, o.Prefix)
	}
	return checkPeers(o, want)
}

func checkPeers(o Outside, want Desired) error {
	for _, p := range o.Peers {
		if !p.Is4() || p.IsUnspecified() || p.IsMulticast() || p == want.Underlay.Addr {
			return invalidf("outside: peer %v is not another host's IPv4 address", p)
		}
	}
	return nil
}
