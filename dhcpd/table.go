package dhcpd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Table is an immutable snapshot of a network and its leases, ready to answer
// with. It is safe for concurrent use. Make one with [NewTable].
type Table struct {
	leases    map[[6]byte]entry
	router    [4]byte
	broadcast [4]byte
	routerMAC [6]byte
	maxSize   int // of a reply as an IP packet, bytes
	options   options
}

// entry is a lease in the form in which it is needed.
type entry struct {
	addr     [4]byte
	hostname string
}

// NewTable checks a network and its leases and returns them as a table. Its
// errors wrap ErrInvalid and name every bad lease; MACs and addresses are distinct.
func NewTable(n Network, leases []Lease) (*Table, error) {
	if err := n.validate(); err != nil {
		return nil, err
	}
	opts, err := encodeOptions(&n)
	if err != nil {
		return nil, err
	}
	t := &Table{
		leases:    make(map[[6]byte]entry, len(leases)),
		router:    n.Router.As4(),
		broadcast: broadcast(n.Prefix).As4(),
		routerMAC: [6]byte(n.RouterMAC),
		maxSize:   maxPacket,
		options:   opts,
	}
	if n.MTU != 0 {
		t.maxSize = max(minPacket, min(n.MTU, maxPacket))
	}
	owners := make(map[[4]byte]net.HardwareAddr, len(leases))
	var errs []error
	for i := range leases {
		l := &leases[i]
		if err := l.validate(&n); err != nil {
			errs = append(errs, err)
			continue
		}
		mac, addr := [6]byte(l.MAC), l.Addr.As4()
		if other, taken := owners[addr]; taken {
			errs = append(errs, fmt.Errorf("%w: lease of %v: address %v is also leased to %v", ErrInvalid, l.MAC, l.Addr, other))
			continue
		}
		if other, taken := t.leases[mac]; taken {
			errs = append(errs, fmt.Errorf("%w: lease of %v: has both %v and %v", ErrInvalid, l.MAC, netip.AddrFrom4(other.addr), l.Addr))
			continue
		}
		owners[addr] = l.MAC
		t.leases[mac] = entry{addr: addr, hostname: hostname(l.Hostname)}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

// Len returns the number of leases.
func (t *Table) Len() int { return len(t.leases) }

// Lookup returns the lease of mac as clients are told of it.
func (t *Table) Lookup(mac net.HardwareAddr) (Lease, bool) {
	if len(mac) != 6 {
		return Lease{}, false
	}
	e, ok := t.leases[[6]byte(mac)]
	if !ok {
		return Lease{}, false
	}
	return Lease{MAC: mac, Addr: netip.AddrFrom4(e.addr), Hostname: e.hostname}, true
}
