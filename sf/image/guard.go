package image

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// neverForTenants are addresses that mean "this host", "this link", or a cloud's
// own services, whatever route they would take.
var neverForTenants = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, where metadata services live"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata service"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata service"},
	{netip.MustParsePrefix("::/128"), "this host"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "a metadata service"},
}

// guard decides which addresses a tenant's download may connect to. Private
// networks are allowed: mirrors live there.
type guard struct {
	deny  []netip.Prefix
	cloud func() []netip.Addr // may be nil
	local func() ([]netip.Addr, error)
}

// control is a net.Dialer's Control: it sees the address that is about to be
// connected to, after name resolution, for redirects too.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrForbidden, address, err)
	}
	local, err := g.local()
	if err != nil {
		return fmt.Errorf("list this host's addresses: %w", err)
	}
	return g.check(ap.Addr(), local)
}

// check returns ErrForbidden with the reason, or nil.
func (g guard) check(addr netip.Addr, local []netip.Addr) error {
	var cloud []netip.Addr
	if g.cloud != nil {
		cloud = g.cloud()
	}
	for _, a := range embedded(addr) {
		for _, n := range neverForTenants {
			if n.prefix.Contains(a) {
				return fmt.Errorf("%w: %s is %s", ErrForbidden, addr, n.what)
			}
		}
		for _, p := range g.deny {
			if p.Contains(a) {
				return fmt.Errorf("%w: %s is in %s, which this cloud keeps for itself", ErrForbidden, addr, p)
			}
		}
		for _, c := range cloud {
			if c.Unmap().WithZone("") == a {
				return fmt.Errorf("%w: %s is a machine of this cloud", ErrForbidden, addr)
			}
		}
		for _, l := range local {
			if l.Unmap().WithZone("") == a {
				return fmt.Errorf("%w: %s is an address of this host", ErrForbidden, addr)
			}
		}
	}
	return nil
}

// embedded returns the address itself and the IPv4 address that it carries when
// it is a mapped, compatible, NAT64 or 6to4 one.
func embedded(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap().WithZone("")
	all := []netip.Addr{addr}
	if addr.Is4() {
		return all
	}
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr), netip.MustParsePrefix("::/96").Contains(addr):
		all = append(all, at(12))
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		all = append(all, at(2))
	}
	return all
}

// interfaceAddrs lists this host's addresses.
func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all, nil
}
