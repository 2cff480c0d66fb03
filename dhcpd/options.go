package dhcpd

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Codes of the options that are looked at packet by packet.
const (
	optPad         = 0
	optHostname    = 12
	optRequestedIP = 50
	optMessageType = 53
	optServerID    = 54
	optParameters  = 55
	optMaxSize     = 57
	optClientID    = 61
	optEnd         = 255
)

// options holds a network's options as they go on the wire, code and length included.
type options struct {
	serverID []byte   // option 54, in every reply
	times    []byte   // options 51, 58 and 59, in every lease
	list     []option // the others
	// at[code] is the place of an option in list, plus one.
	at [256]uint8
	// must is the length of all options in list that are always sent.
	must int
}

type option struct {
	always bool // sent even where the client did not ask for it
	wire   []byte
}

// encodeOptions has the codec encode all that does not depend on the client.
func encodeOptions(n *Network) (options, error) {
	lease := n.LeaseTime
	if lease == 0 {
		lease = DefaultLeaseTime
	}
	o := options{
		serverID: wire(dhcpv4.OptServerIdentifier(ip(n.Router))),
		times: wire(
			dhcpv4.OptIPAddressLeaseTime(lease),
			dhcpv4.OptRenewTimeValue(lease/2),
			dhcpv4.OptRebindingTimeValue(lease/8*7),
		),
	}
	o.add(true, dhcpv4.OptSubnetMask(net.CIDRMask(n.Prefix.Bits(), 32)))
	if !n.Isolated {
		o.add(true, dhcpv4.OptRouter(ip(n.Router)))
	}
	if len(n.DNS) > 0 {
		o.add(true, dhcpv4.OptDNS(ips(n.DNS)...))
	}
	if n.MTU > 0 {
		o.add(true, dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(n.MTU))))
	}
	if n.Domain != "" {
		o.add(false, dhcpv4.OptDomainName(n.Domain))
	}
	o.add(false, dhcpv4.OptBroadcastAddress(ip(broadcast(n.Prefix))))
	if len(n.Routes) > 0 {
		routes := dhcpv4.OptClasslessStaticRoute(routes(n)...)
		if len(routes.Value.ToBytes()) > 255 {
			return options{}, fmt.Errorf("%w: %d routes do not fit in one DHCP option", ErrInvalid, len(n.Routes))
		}
		o.add(false, routes)
	}
	return o, nil
}

func (o *options) add(always bool, opt dhcpv4.Option) {
	b := wire(opt)
	o.list = append(o.list, option{always: always, wire: b})
	o.at[opt.Code.Code()] = uint8(len(o.list))
	if always {
		o.must += len(b)
	}
}

// routes returns a network's routes with the default route in front (RFC 3442:
// a client that takes these ignores the router option).
func routes(n *Network) []*dhcpv4.Route {
	var list []*dhcpv4.Route
	if !n.Isolated {
		list = append(list, &dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Router: ip(n.Router)})
	}
	for _, r := range n.Routes {
		dst := r.Dst.Masked()
		list = append(list, &dhcpv4.Route{
			Dest:   &net.IPNet{IP: ip(dst.Addr()), Mask: net.CIDRMask(dst.Bits(), 32)},
			Router: ip(r.Via),
		})
	}
	return list
}

// appendOptions appends what the client asked for, in its order, then what it
// gets unasked, as far as b may grow to limit bytes.
func (o *options) appendOptions(b []byte, r *request, name string, limit int) []byte {
	if r.params == nil {
		return o.appendAll(b, name, limit)
	}
	// Room for what must be sent is kept free from the start.
	limit -= o.must
	var sent uint64
	sentName := false
	for _, code := range r.params {
		if code == optHostname && !sentName {
			b = appendHostname(b, name, limit)
			sentName = true
		}
		i := o.at[code]
		if i == 0 || sent&(1<<i) != 0 {
			continue
		}
		opt := &o.list[i-1]
		if opt.always {
			limit += len(opt.wire)
		} else if len(b)+len(opt.wire) > limit {
			continue
		}
		b = append(b, opt.wire...)
		sent |= 1 << i
	}
	for i := range o.list {
		if o.list[i].always && sent&(1<<(i+1)) == 0 {
			b = append(b, o.list[i].wire...)
		}
	}
	return b
}

// appendAll appends all options for a client that did not say what it wants.
func (o *options) appendAll(b []byte, name string, limit int) []byte {
	limit -= o.must
	for i := range o.list {
		opt := &o.list[i]
		if opt.always {
			limit += len(opt.wire)
		} else if len(b)+len(opt.wire) > limit {
			continue
		}
		b = append(b, opt.wire...)
	}
	return appendHostname(b, name, limit)
}

func appendHostname(b []byte, name string, limit int) []byte {
	if name == "" || len(b)+2+len(name) > limit {
		return b
	}
	b = append(b, optHostname, byte(len(name)))
	return append(b, name...)
}

// wire returns options as the codec writes them.
func wire(opts ...dhcpv4.Option) []byte { return dhcpv4.OptionsFromList(opts...).ToBytes() }

func ip(a netip.Addr) net.IP { return a.AsSlice() }

func ips(list []netip.Addr) []net.IP {
	out := make([]net.IP, len(list))
	for i, a := range list {
		out[i] = ip(a)
	}
	return out
}
