package dns

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Network is whose names are answered.
type Network struct {
	// Name of the network: its hosts are also NAME.network.
	Name string
	// Zone is the domain that clients are told, and append to names; the hosts are
	// in it. It is answered here alone. Empty means none.
	Zone string
	// Prefix is the network's block, whose reverse names are answered here alone.
	Prefix netip.Prefix
}

// Host is one name and its address.
type Host struct {
	Name string
	Addr netip.Addr // IPv4
}

// Table is an immutable snapshot of a network's names. It is safe for concurrent
// use. Make one with [NewTable].
type Table struct {
	zone    string // ".cloud.internal", or empty
	network string // "lan", or empty
	prefix  netip.Prefix
	names   map[string][]netip.Addr // in lower case, without a dot at the end
	addrs   map[netip.Addr]string
}

// NewTable returns the hosts of a network as a table. Names that are not fit to be
// one label of a host name are left out, and addresses that are not IPv4; a name
// may have several addresses, and the first name of an address is its own.
func NewTable(n Network, hosts []Host) *Table {
	t := &Table{prefix: n.Prefix.Masked(), names: map[string][]netip.Addr{}, addrs: map[netip.Addr]string{}}
	network, zone := strings.ToLower(n.Name), strings.ToLower(strings.Trim(n.Zone, "."))
	if domain(zone) {
		t.zone = "." + zone
		t.names[zone] = nil
	}
	if label(network) { // what is above the hosts' names exists
		t.network = network
		if t.zone != "" {
			t.names[network+t.zone] = nil
		}
	}
	for _, h := range hosts {
		name := strings.ToLower(h.Name)
		if !label(name) || !h.Addr.Is4() {
			continue
		}
		suffixes := []string{""}
		if label(network) {
			suffixes = append(suffixes, "."+network)
		}
		for _, s := range suffixes {
			t.names[name+s] = append(t.names[name+s], h.Addr)
			if t.zone != "" {
				t.names[name+s+t.zone] = append(t.names[name+s+t.zone], h.Addr)
			}
		}
		if _, taken := t.addrs[h.Addr]; !taken {
			t.addrs[h.Addr] = name + suffixes[len(suffixes)-1] + t.zone
		}
	}
	return t
}

// own reports whether a name is answered here whether it exists or not: no other
// server knows a host of one label, or a name of the zone. (A domain of one label is
// the world's: see about.)
func (t *Table) own(name string, kind dnsmessage.Type) bool {
	return name != "" && !strings.Contains(name, ".") && !about(kind) ||
		t.zone != "" && (strings.HasSuffix(name, t.zone) || name == t.zone[1:])
}

// about reports whether records of a type are about domains, top-level ones too, rather
// than about hosts. Who validates answers asks for them.
func about(kind dnsmessage.Type) bool {
	const ds, dnskey = 43, 48
	return kind == dnsmessage.TypeNS || kind == dnsmessage.TypeSOA || kind == ds || kind == dnskey
}

// reverse reads the address out of a reverse name; ok is false for other names.
func reverse(name string) (addr netip.Addr, ok bool) {
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return addr, false
	}
	parts := strings.Split(digits, ".")
	if len(parts) != 4 {
		return addr, false
	}
	addr, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return addr, err == nil && addr.Is4()
}

// label reports whether s is one label of a host name.
func label(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}) < 0
}

// domain reports whether s is a short enough row of labels.
func domain(s string) bool {
	if len(s) > 120 { // room for two labels in front
		return false
	}
	for _, l := range strings.Split(s, ".") {
		if !label(l) {
			return false
		}
	}
	return true
}
