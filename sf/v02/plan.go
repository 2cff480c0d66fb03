// Package v02 reads the records of a Shaken Fist 0.2 and says what of them can live in
// a cloud of ours. It is pure: records in, a plan and remarks out.
//
// The original checks little of what it stores, and some of its faults leave records
// that cannot all be right, such as two interfaces with one address. What cannot be
// carried as a whole is refused, with the reason, and so is whatever needs it.
package v02

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// Record is a record as the original has it in its etcd.
type Record struct {
	Key   string
	Value []byte
}

// Root is the prefix of all keys.
const Root = "/sf/"

// Prefixes of the keys that Read looks at. Events and metrics are not among them.
var Prefixes = []string{
	Root + "namespace/", Root + "network/", Root + "networkinterface/", Root + "instance/",
	Root + "metadata/", Root + "ipmanager/", Root + "snapshot/",
}

// Later is the prefix of keys that only later releases have, whose records differ.
const Later = Root + "attribute/"

// Options of Read.
type Options struct {
	// DiskBus is the bus of disks that do not ask for one; empty is virtio.
	DiskBus string
	// Renumber gives interfaces and networks another address, MAC or VNI where
	// theirs cannot be kept. Otherwise they are refused.
	Renumber bool
}

// Plan is what is to be made, each list in the order of its names or UUIDs.
type Plan struct {
	Floating   netip.Prefix // the floating network; not valid where there is none
	Namespaces []Namespace
	Networks   []Network
	Instances  []Instance
	Remarks    []Remark
}

// Namespace is a tenant.
type Namespace struct {
	Name     string
	Keys     map[string][]byte // bcrypt hashes
	Metadata spec.Metadata
}

// Network is a network and what it keeps.
type Network struct {
	UUID, Namespace string
	Spec            spec.NetworkSpec
	VNI             uint32     // 0 for another
	Gateway         netip.Addr // not valid for another
	Metadata        spec.Metadata
}

// Instance is an instance and what it keeps.
type Instance struct {
	UUID, Namespace string
	Spec            spec.InstanceSpec
	Node            string // that it is on
	Power           spec.PowerState
	Interfaces      []Interface // as Spec's
	Disks           []Disk
}

// Interface is what an interface keeps besides what its spec has.
type Interface struct {
	UUID     string
	Floating netip.Addr // not valid for none
}

// Disk is a disk of an instance whose content is in a file of its node.
type Disk struct {
	Index  int    // in the instance's spec
	File   string // in the instance's directory there
	Device string // what it is to be called here
}

// Remark is what is to be said of one object.
type Remark struct {
	Kind    spec.Kind
	ID      string // UUID, or a name
	Name    string // where it has one beside its UUID
	Refused bool   // it is not in the plan, else it is without something
	Text    string
}

// Read makes a plan of a store's records.
func Read(records []Record, o Options) *Plan {
	r := &reader{
		Options: o, plan: &Plan{}, kinds: map[string]map[string]Record{}, namespaces: map[string]bool{},
		networks: map[string]*Network{}, blocks: map[string]map[netip.Addr]string{}, macs: map[string]string{}, vnis: map[uint32]string{},
		floats: map[netip.Addr]string{},
	}
	for _, rec := range records {
		kind, id, ok := strings.Cut(strings.TrimPrefix(rec.Key, Root), "/")
		if !ok || !strings.HasPrefix(rec.Key, Root) || id == "" {
			continue
		}
		if r.kinds[kind] == nil {
			r.kinds[kind] = map[string]Record{}
		}
		r.kinds[kind][id] = rec
	}
	r.readNamespaces()
	r.readInterfaces()
	r.readNetworks()
	r.readInstances()
	r.gateways()
	r.leftovers()
	for _, n := range r.plan.Networks {
		r.settle(n.UUID)
	}
	slices.SortStableFunc(r.plan.Remarks, func(a, b Remark) int {
		return cmp.Or(cmp.Compare(order(a.Kind), order(b.Kind)), strings.Compare(a.ID, b.ID))
	})
	return r.plan
}

// order is that in which kinds are made.
func order(k spec.Kind) int {
	return slices.Index([]spec.Kind{spec.KindNamespace, spec.KindNetwork, spec.KindInstance, spec.KindInterface, spec.KindSnapshot}, k)
}

// reader is a plan being made.
type reader struct {
	Options
	plan       *Plan
	kinds      map[string]map[string]Record // by kind and the rest of the key
	namespaces map[string]bool              // planned
	networks   map[string]*Network          // planned
	cards      map[string][]card            // of instances

	blocks map[string]map[netip.Addr]string // addresses by network, and the interface that has each
	macs   map[string]string                // by interface
	vnis   map[uint32]string                // by network
	floats map[netip.Addr]string            // by what has it, "interface UUID"
}

func (r *reader) remark(k spec.Kind, id, name, text string) {
	r.plan.Remarks = append(r.plan.Remarks, Remark{Kind: k, ID: id, Name: name, Text: text})
}

func (r *reader) refuse(k spec.Kind, id, name, text string) {
	r.plan.Remarks = append(r.plan.Remarks, Remark{Kind: k, ID: id, Name: name, Text: text, Refused: true})
}
