package spec

import (
	"net/netip"
	"time"
)

// NetworkSpec is what a user asks for when creating a network.
type NetworkSpec struct {
	Name     string `json:"name"`
	Netblock string `json:"netblock"` // CIDR, "10.0.0.0/24", between /8 and /29
	DHCP     bool   `json:"dhcp"`     // answer DHCP on it
	NAT      bool   `json:"nat"`      // let guests reach out
	// IdempotencyKey makes a repeated create return the first one's network, for
	// 24 hours, per namespace. The same key with another spec is ErrConflict.
	IdempotencyKey string `json:"-"`
}

// Network is a virtual network.
type Network struct {
	UUID      string    `json:"uuid"`
	Namespace string    `json:"namespace"`
	Created   time.Time `json:"created"`
	NetworkSpec
	VNI       uint32     `json:"vni"` // VXLAN network identifier, 1 to 2^24-1
	RouterMAC string     `json:"router_mac"`
	Bytes     int        `json:"mtu,omitempty"`    // see MTU
	Gateway   netip.Addr `json:"gateway,omitzero"` // its own address in the floating network, where NAT
	Deletion  *Deletion  `json:"deletion,omitempty"`

	Node    string        `json:"-"` // that routes it
	Status  NetworkStatus `json:"-"`
	Version string        `json:"-"` // changes with anything above
}

// Prefix is the network's block; not valid for a record that was never validated.
func (n *Network) Prefix() netip.Prefix {
	p, _ := netip.ParsePrefix(n.Netblock)
	return p
}

// MTU is what the network's frames may carry, bytes: what the underlay carried when
// the network was created, less the 50 of VXLAN.
func (n *Network) MTU() int {
	if n.Bytes == 0 {
		return 1500 - 50
	}
	return n.Bytes
}

// Router is the address of the network's router, the first of its block.
func (n *Network) Router() netip.Addr { return n.Prefix().Masked().Addr().Next() }

// Router says which node routes a network.
type Router struct {
	Node  string    `json:"node"`
	Since time.Time `json:"since"`
}

// NetworkStatus is a network as it is, written by the node that routes it.
type NetworkStatus struct {
	State State     `json:"state"`
	Since time.Time `json:"since"` // of the last change of State
	Error string    `json:"error,omitempty"`
	Wait  *Wait     `json:"wait,omitempty"`
}

// Deletion marks an object that is to go.
type Deletion struct {
	Requested time.Time `json:"requested"`
	Done      time.Time `json:"done,omitzero"`    // finalized: nothing of it is left but this record
	Forced    bool      `json:"forced,omitempty"` // not to be waited for: its node is away, and does its part when it returns
}

// Gone reports whether a deletion is complete.
func (d *Deletion) Gone() bool { return d != nil && !d.Done.IsZero() }

// InterfaceSpec asks for a NIC on a network.
type InterfaceSpec struct {
	Network string `json:"network"`           // UUID, or a name unique in the namespace
	Address string `json:"address,omitempty"` // IPv4; empty picks a free one
	MAC     string `json:"mac,omitempty"`     // empty makes one
	Model   string `json:"model,omitempty"`   // empty is virtio
	Float   bool   `json:"float,omitempty"`   // give it an address of the floating network too
}

// Interface is a NIC of an instance.
type Interface struct {
	UUID      string     `json:"uuid"`
	Network   string     `json:"network"`  // UUID
	Instance  string     `json:"instance"` // UUID
	Namespace string     `json:"namespace"`
	Node      string     `json:"node"`     // of the instance
	Hostname  string     `json:"hostname"` // of the instance, told by DHCP
	Order     int        `json:"order"`    // position in the instance, from 0
	MAC       string     `json:"mac"`      // as asked for, or as made
	Address   netip.Addr `json:"address"`
	Model     string     `json:"model"`
	Floating  netip.Addr `json:"floating,omitzero"`
	Created   time.Time  `json:"created"`

	State State     `json:"-"` // follows the instance's
	Since time.Time `json:"-"`
}
