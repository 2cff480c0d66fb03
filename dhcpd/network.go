package dhcpd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ErrInvalid is wrapped by the errors of [NewTable]; the text says which field of
// what is wrong.
var ErrInvalid = errors.New("dhcpd: invalid configuration")

// DefaultLeaseTime is a [Network]'s lease time where it states none.
const DefaultLeaseTime = time.Hour

// maxDNS keeps what every reply must carry within the smallest message that a
// client has to accept.
const maxDNS = 16

// Network is what all clients of a network are told.
type Network struct {
	// Prefix is the network's block, IPv4, /30 or wider. Host bits are ignored.
	Prefix netip.Prefix
	// Router is an address in Prefix: the clients' default router and, wherever this
	// code runs, the server identifier and the source of replies. Required.
	Router netip.Addr
	// RouterMAC is the Ethernet source of replies, where clients send their
	// unicast renewals. Required.
	RouterMAC net.HardwareAddr
	// Isolated leaves out the default route: Router only serves DHCP.
	Isolated bool
	// DNS servers in order of preference, at most 16. None means that clients are
	// told of none.
	DNS []netip.Addr
	// Domain is the DNS domain of clients. Empty means that none is told.
	Domain string
	// MTU of the clients' interfaces in bytes, at least 68. 0 means that none is told.
	MTU int
	// LeaseTime in whole seconds, at least 8; 0 means DefaultLeaseTime. Clients renew
	// after half of it and ask any server after seven eighths.
	LeaseTime time.Duration
	// Routes beside the default route. Clients that understand them (option 121)
	// ignore the router option, so the default route is put in front by itself.
	Routes []Route
}

// Route leads to the addresses in Dst by way of Via, a neighbour of the clients.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// Lease gives a client its address.
type Lease struct {
	// MAC is a 6 byte unicast Ethernet address.
	MAC net.HardwareAddr
	// Addr is in the network's prefix, and is neither the router's nor the first or
	// last of the prefix.
	Addr netip.Addr
	// Hostname is told to clients that ask. It is a courtesy: a name that is empty
	// or is not made of letters, digits, "-", "_" and "." is not sent.
	Hostname string
}

func (n *Network) validate() error {
	switch {
	case !n.Prefix.IsValid() || !n.Prefix.Addr().Is4() || n.Prefix.Bits() > 30:
		return fmt.Errorf("%w: prefix %v: want an IPv4 block of /30 or wider", ErrInvalid, n.Prefix)
	case !usable(n.Prefix, n.Router):
		return fmt.Errorf("%w: router %v: want a host address of %v", ErrInvalid, n.Router, n.Prefix)
	case !unicast(n.RouterMAC):
		return fmt.Errorf("%w: router MAC %q: want a unicast Ethernet address", ErrInvalid, n.RouterMAC)
	case len(n.DNS) > maxDNS:
		return fmt.Errorf("%w: %d DNS servers: want at most %d", ErrInvalid, len(n.DNS), maxDNS)
	case len(n.Domain) > 253:
		return fmt.Errorf("%w: domain of %d bytes: want at most 253", ErrInvalid, len(n.Domain))
	case n.MTU != 0 && (n.MTU < 68 || n.MTU > 65535):
		return fmt.Errorf("%w: MTU %d: want 68 to 65535, or 0 for none", ErrInvalid, n.MTU)
	case n.LeaseTime != 0 && (n.LeaseTime < 8*time.Second || n.LeaseTime%time.Second != 0 || n.LeaseTime/time.Second >= 1<<32-1):
		return fmt.Errorf("%w: lease time %v: want whole seconds from 8 to 2^32-2, or 0 for %v", ErrInvalid, n.LeaseTime, DefaultLeaseTime)
	}
	for _, a := range n.DNS {
		if !a.Is4() {
			return fmt.Errorf("%w: DNS server %v: want an IPv4 address", ErrInvalid, a)
		}
	}
	for _, r := range n.Routes {
		if !r.Dst.IsValid() || !r.Dst.Addr().Is4() || !r.Via.Is4() {
			return fmt.Errorf("%w: route to %v via %v: want IPv4", ErrInvalid, r.Dst, r.Via)
		}
	}
	return nil
}

func (l *Lease) validate(n *Network) error {
	switch {
	case !unicast(l.MAC):
		return fmt.Errorf("%w: lease of %v: MAC %q: want a unicast Ethernet address", ErrInvalid, l.Addr, l.MAC)
	case !usable(n.Prefix, l.Addr):
		return fmt.Errorf("%w: lease of %v: address %v: want a host address of %v", ErrInvalid, l.MAC, l.Addr, n.Prefix)
	case l.Addr == n.Router:
		return fmt.Errorf("%w: lease of %v: address %v is the router's", ErrInvalid, l.MAC, l.Addr)
	}
	return nil
}

// unicast reports whether mac can be a host's.
func unicast(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && [6]byte(mac) != [6]byte{}
}

// usable reports whether a is a host's address in p: not its first, not its last.
func usable(p netip.Prefix, a netip.Addr) bool {
	return a.Is4() && p.Contains(a) && a != p.Masked().Addr() && a != broadcast(p)
}

// broadcast returns the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i, m := range net.CIDRMask(p.Bits(), 32) {
		a[i] |= ^m
	}
	return netip.AddrFrom4(a)
}

// hostname returns name if it is fit to be sent to a client, whose scripts may
// trust it, and else "".
func hostname(name string) string {
	if len(name) > 253 {
		return ""
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.' && i > 0, c == '-' && i > 0:
		default:
			return ""
		}
	}
	return name
}
