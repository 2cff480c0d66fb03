// Package netfab defines the network fabric of one host: which virtual networks
// exist here, which ports they have, and where this host is their router.
//
// The whole wanted fabric is one value, Desired; Apply makes it so and is called
// again and again. What to do is decided by Diff, a pure function from wanted
// and found to a list of steps. Package netfabtest proves an implementation right.
package netfab

import (
	"context"
	"errors"
	"io"
	"net/netip"
)

// Errors of this package. Implementations wrap them; compare with errors.Is.
var (
	// ErrForeign: something of the same name exists and is not ours; it is left
	// alone. The text names it.
	ErrForeign = errors.New("netfab: belongs to someone else")
	// ErrInvalid: Desired contradicts itself; the text says where.
	ErrInvalid = errors.New("netfab: invalid desired state")
	// ErrNotFound: no such network on this host.
	ErrNotFound = errors.New("netfab: no such network here")
)

// Desired is everything this host's fabric should be. The zero Desired wants nothing.
type Desired struct {
	// Underlay carries the mesh between hosts. Where its Addr is not valid there
	// is no mesh (a cloud of one host) and no VXLAN device is made.
	Underlay Underlay
	// Outside is where routers meet the world. Where its Prefix is not valid no
	// network can have a Gateway.
	Outside  Outside
	Networks []Network // any order; IDs and VNIs distinct
}

// Underlay is this host's place in the network that carries VXLAN.
type Underlay struct {
	Addr netip.Addr // this host's VTEP address
	MTU  int        // of the underlay in bytes; 0 means that of the device that has Addr
}

// Mode is how the outside segment meets the world.
type Mode string

// Modes.
const (
	// Local: the segment ends at this host, which forwards between it and the world
	// and masquerades what leaves. For a cloud of one host.
	Local Mode = ""
	// L2: the segment is the uplink's own. Routers are neighbours of whatever is
	// there, answer ARP for their addresses, and tell when they take them over.
	L2 Mode = "l2"
	// Routed: the hosts share the segment by a VXLAN of its own, and one of them,
	// the edge, is its way to the world, which routes Prefix there.
	Routed Mode = "routed"
)

// Outside is the segment where routers meet the world, as this host sees it.
type Outside struct {
	// Prefix is the block of the routers' own and floating addresses. In the modes
	// Local and Routed its first address is the host's (the edge's).
	Prefix netip.Prefix
	// Uplink is the device towards the world. L2: a device without addresses (a
	// second NIC, a VLAN, an end of a veth pair into a bridge), which becomes a port
	// of the segment; required. Else: the only way out of the segment; empty means
	// wherever the host's routes lead.
	Uplink string
	Mode   Mode
	// Via is the routers' default gateway in mode L2; not valid means the first
	// address of Segment.
	Via netip.Addr
	// Segment is the whole prefix of the uplink's segment in mode L2, where Prefix
	// is but a part of it; not valid means Prefix.
	Segment netip.Prefix
	// Fenced routers work only while they are kept: see Keeper.
	Fenced bool
	// VNI, in mode Routed, is that of the shared segment, and no network's. It needs
	// an underlay.
	VNI uint32
	// Peers are the other hosts' VTEPs in the modes Local and Routed. In mode Local no
	// guest reaches them by way of this host, as which it would seem to come.
	Peers []netip.Addr
	// Edge is set where this host is the edge.
	Edge bool
	// EdgeAddr is an address that the edge takes on at the uplink, so that the world
	// can route Prefix to one address whichever host is the edge. Not valid means
	// that the world finds the edge in another way.
	EdgeAddr netip.Prefix
}

// Network is one virtual network on this host.
type Network struct {
	ID     string // UUID
	VNI    uint32 // 1 to 2^24-1
	Prefix netip.Prefix
	MTU    int // of guests' interfaces, bytes; 0 means 1450
	// Router is the network's router as guests see it, wherever it runs.
	Router Router
	// DNS lets the network's guests on this host reach a DNS server of ours at the
	// router's address, wherever the router runs: see Listener.
	DNS bool
	// Isolated says that the network has no router on any host. Where it wants DNS,
	// this host then answers ARP for the router's address, for nothing but DNS.
	Isolated bool
	Ports    []Port
	Remote   []Remote // ports on other hosts
	// Gateway is set where this host is the network's router.
	Gateway *Gateway
}

// Router is a network's first address and the MAC that goes with it. It is the
// same on every host.
type Router struct {
	Addr netip.Addr
	MAC  string
}

// Port is a guest's NIC on this host.
type Port struct {
	ID   string     // UUID of the NIC
	MAC  string     // the only source MAC let through
	Addr netip.Addr // the only source address let through; not valid for a NIC without one
}

// Remote is a guest's NIC on another host, or the network's router (its MAC and
// its Addr) where that is on another host.
type Remote struct {
	MAC  string
	Addr netip.Addr
	VTEP netip.Addr
}

// Gateway is the router's outside half.
type Gateway struct {
	Addr     netip.Addr // the network's own address in Outside.Prefix
	NAT      bool       // masquerade what leaves behind Addr
	Floating []Floating
}

// Floating is a 1:1 translation between an outside and an inside address.
type Floating struct {
	Outside netip.Addr
	Inside  netip.Addr
}

// Attachment says where a port's tap is.
type Attachment struct {
	Tap   string // interface name
	NetNS string // path of the namespace file that holds it; empty means the process's own
}

// Fabric is one host's networking. Methods are safe for concurrent use.
type Fabric interface {
	// Apply makes the host's fabric equal to want: creates, repairs drift, and
	// removes what is ours and no longer wanted. It is idempotent, survives being
	// killed at any point (the next Apply completes), and touches nothing that is
	// not provably ours. When some networks fail the others are still applied; the
	// error joins one *NetworkError per failed network, and a *HostError for each of
	// the host's own parts that failed. With any other error in it nobody knows what
	// was applied.
	Apply(ctx context.Context, want Desired) error
	// Observe reports what of ours exists on the host now.
	Observe(ctx context.Context) (Observed, error)
	// Attachment tells where the tap of a port of a network is, or will be once
	// applied. It is a pure function of its arguments.
	Attachment(networkID string, vni uint32, portID string) Attachment
	// Frames opens the DHCP traffic of a network on this host: each Read returns
	// one whole Ethernet frame as a guest's port sent it to UDP port 67, each Write
	// sends one frame towards the guests. It ends with io.EOF when the network is
	// removed, or made anew after others removed it, and waits while it is down.
	// ErrNotFound when the network is not applied here; errors.ErrUnsupported when this
	// fabric carries no real frames. Of what a port sends faster than any guest needs
	// to, some is lost.
	Frames(ctx context.Context, networkID string) (io.ReadWriteCloser, error)
	// Close lets go of the host and leaves the fabric standing.
	Close() error
}

// NetworkError is the failure of one network within an Apply.
type NetworkError struct {
	Network string // ID
	Err     error
}

func (e *NetworkError) Error() string { return "network " + e.Network + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NetworkError) Unwrap() error { return e.Err }

// HostError is the failure of what is no network's within an Apply: the outside, or
// what a crash left. Networks are applied beside it; those that cannot be without
// have a NetworkError of their own.
type HostError struct{ Err error }

func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *HostError) Unwrap() error { return e.Err }

// Observed is what of ours exists on a host, in the terms of Desired as far as
// the host can tell.
type Observed struct {
	// Underlay is what the networks' VXLAN devices use, MTU aside; not valid where
	// there are none.
	Underlay Underlay
	Outside  Outside
	Networks []Network // sorted by ID, each in the form that Normalize gives
	// Damaged tells by network ID what is wrong with a network and cannot be said
	// in the terms of Desired ("br0 is down"). The next Apply repairs it in place.
	Damaged map[string][]string
	// OutsideDamaged tells the same of the outside segment.
	OutsideDamaged []string
	// Stray names what is ours but belongs to no complete network ("namespace
	// sf-1a2b-000007"): left behind by a crash, removed by the next Apply.
	Stray []string
}
