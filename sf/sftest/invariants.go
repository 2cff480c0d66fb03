package sftest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// HostView is what Invariants looks at on one host.
type HostView struct {
	Node       string
	Hypervisor driver.Hypervisor
	Volumes    driver.Volumes
	Fabric     netfab.Fabric
}

// Invariants checks what must hold of a cloud whatever happened to it, and says
// what does not, a sentence each: no address, MAC or VNI belongs to two, every
// claim has an owner and every owner its claims, no node is promised more than it
// has, no machine runs twice or for an instance that is gone.
//
// With quiet it checks also what must hold once nothing is left to do: hosts have
// just what the records want, no more and no less.
func Invariants(ctx context.Context, s store.Store, hosts []HostView, quiet bool) ([]string, error) {
	v := &view{quiet: quiet, nics: map[string]spec.Interface{}, members: map[string]bool{}, live: map[string]bool{}, routers: map[string]string{}}
	if err := v.read(ctx, s); err != nil {
		return nil, err
	}
	v.checkAddresses()
	v.checkClaims()
	v.checkLedgers()
	if err := v.readHeld(ctx, s); err != nil {
		return nil, err
	}
	seen := map[string]string{}
	for _, h := range hosts {
		if err := v.checkMachines(ctx, h, seen); err != nil {
			return nil, err
		}
		if !quiet {
			continue
		}
		if err := v.checkVolumes(ctx, h); err != nil {
			return nil, err
		}
		if err := v.checkHeld(ctx, h); err != nil {
			return nil, err
		}
		if err := v.checkFabric(ctx, h); err != nil {
			return nil, err
		}
	}
	if quiet {
		v.checkStates()
	}
	slices.Sort(v.wrong)
	return v.wrong, nil
}

// view is one reading of all records.
type view struct {
	quiet     bool
	instances []spec.Instance // with status
	networks  []spec.Network  // with status
	nics      map[string]spec.Interface
	addresses map[string]map[netip.Addr]claims.Address // by network
	macs      map[string]string
	vnis      map[string]string
	nodes     []spec.Node                     // with Used
	live      map[string]bool                 // nodes
	members   map[string]bool                 // NETWORK/NODE
	routers   map[string]string               // node by network
	ops       map[string]spec.OperationStatus // by key
	snapshots map[string]spec.Snapshot        // with status
	held      map[string][]string             // IDs of images by node
	wrong     []string
}

func (v *view) fail(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

func all[T any](ctx context.Context, c *record.Client, prefix string, visit func(key string, value T)) error {
	list, _, _, err := record.List[T](ctx, c, prefix, store.Page{})
	for _, o := range list {
		visit(o.Key, o.Value)
	}
	return err
}

func (v *view) read(ctx context.Context, s store.Store) error {
	c := record.New(s, func() string { return "invariants" })
	v.addresses = map[string]map[netip.Addr]claims.Address{}
	v.macs, v.vnis = map[string]string{}, map[string]string{}
	status := map[string]spec.InstanceStatus{}
	netStatus := map[string]spec.NetworkStatus{}
	used := map[string]spec.Capacity{}
	v.ops, v.snapshots = map[string]spec.OperationStatus{}, map[string]spec.Snapshot{}
	snapStatus := map[string]spec.SnapshotStatus{}
	return errors.Join(
		all(ctx, c, record.Root+"operation-status/", func(k string, o spec.OperationStatus) { v.ops[k] = o }),
		all(ctx, c, record.SnapshotStatusKey(""), func(k string, s spec.SnapshotStatus) { snapStatus[record.Base(k)] = s }),
		all(ctx, c, record.SnapshotKey(""), func(k string, s spec.Snapshot) {
			s.Status = snapStatus[s.UUID]
			v.snapshots[s.UUID] = s
		}),
		all(ctx, c, record.InstanceStatusPrefix, func(k string, s spec.InstanceStatus) { status[record.Base(k)] = s }),
		all(ctx, c, record.InstancePrefix, func(k string, i spec.Instance) {
			i.Status = status[i.UUID]
			v.instances = append(v.instances, i)
		}),
		all(ctx, c, record.NetworkStatusKey(""), func(k string, s spec.NetworkStatus) { netStatus[record.Base(k)] = s }),
		all(ctx, c, record.NetworkPrefix, func(k string, n spec.Network) {
			n.Status = netStatus[n.UUID]
			v.networks = append(v.networks, n)
			v.addresses[n.UUID] = map[netip.Addr]claims.Address{}
			if r, err := record.Get[spec.Router](ctx, c, record.RouterKey(n.UUID)); err == nil && n.UUID != spec.FloatingNetwork {
				v.routers[n.UUID] = r.Value.Node
			}
			_ = all(ctx, c, record.InterfacePrefix(n.UUID), func(k string, nic spec.Interface) { v.nics[nic.UUID] = nic })
			_ = all(ctx, c, record.AddressPrefix(n.UUID), func(k string, a claims.Address) {
				v.addresses[n.UUID][netip.MustParseAddr(record.Base(k))] = a
			})
			_ = all(ctx, c, record.MemberPrefix(n.UUID), func(k string, _ claims.Empty) { v.members[n.UUID+"/"+record.Base(k)] = true })
		}),
		all(ctx, c, record.MACKey(""), func(k string, o claims.Owned) { v.macs[record.Base(k)] = o.Owner }),
		all(ctx, c, record.Root+"vni/", func(k string, o claims.Owned) { v.vnis[k] = o.Owner }),
		all(ctx, c, record.NodeUsedKey(""), func(k string, u spec.Capacity) { used[record.Base(k)] = u }),
		all(ctx, c, record.NodeLivePrefix, func(k string, _ claims.Empty) { v.live[record.Base(k)] = true }),
		all(ctx, c, record.NodePrefix, func(k string, n spec.Node) {
			n.Used = used[n.Name]
			v.nodes = append(v.nodes, n)
		}),
	)
}

func (v *view) checkAddresses() {
	for _, n := range v.networks {
		for addr, a := range v.addresses[n.UUID] {
			nic, isNIC := v.nics[a.Owner]
			switch {
			case n.UUID != spec.FloatingNetwork && n.Deletion.Gone():
				v.fail("address %s of deleted network %s is claimed", addr, n.UUID)
			case !a.Rested.IsZero():
			case isNIC && n.UUID == spec.FloatingNetwork:
				if nic.Floating != addr {
					v.fail("floating address %s is claimed by interface %s, which has %s", addr, nic.UUID, nic.Floating)
				}
			case isNIC && (nic.Address != addr || nic.Network != n.UUID):
				v.fail("address %s of network %s is claimed by interface %s, which has %s", addr, n.UUID, nic.UUID, nic.Address)
			case !isNIC && !v.isGateway(a.Owner, addr):
				v.fail("address %s of network %s is claimed by %s, which does not exist", addr, n.UUID, a.Owner)
			}
			if addr == n.Router() && n.UUID != spec.FloatingNetwork || !n.Prefix().Contains(addr) {
				v.fail("address %s of network %s is the router's, or outside", addr, n.UUID)
			}
		}
	}
}

func (v *view) isGateway(owner string, addr netip.Addr) bool {
	i := slices.IndexFunc(v.networks, func(n spec.Network) bool { return n.UUID == owner })
	return i >= 0 && v.networks[i].Gateway == addr && !v.networks[i].Deletion.Gone()
}

func (v *view) checkClaims() {
	owners := map[string]bool{}
	for id, nic := range v.nics {
		owners[id] = true
		mac, _ := spec.ParseMAC(nic.MAC)
		if v.macs[mac] != id {
			v.fail("interface %s has MAC %s, which is claimed by %q", id, mac, v.macs[mac])
		}
		if v.addresses[nic.Network][nic.Address].Owner != id {
			v.fail("interface %s has address %s without a claim", id, nic.Address)
		}
		if nic.Floating.IsValid() && v.addresses[spec.FloatingNetwork][nic.Floating].Owner != id {
			v.fail("interface %s has floating address %s without a claim", id, nic.Floating)
		}
		if i := v.instance(nic.Instance); i == nil || i.Deletion.Gone() {
			v.fail("interface %s outlives its instance %s", id, nic.Instance)
		}
		if !v.members[nic.Network+"/"+nic.Node] {
			v.fail("interface %s is on node %s, which is no member of network %s", id, nic.Node, nic.Network)
		}
	}
	for mac, owner := range v.macs {
		if !owners[owner] {
			v.fail("MAC %s is claimed by %s, which does not exist", mac, owner)
		}
	}
	vnis := map[uint32]string{}
	for _, n := range v.networks {
		if n.UUID == spec.FloatingNetwork || n.Deletion.Gone() {
			continue
		}
		if v.vnis[record.VNIKey(n.VNI)] != n.UUID || vnis[n.VNI] != "" {
			v.fail("network %s has VNI %d without a claim, or with %s", n.UUID, n.VNI, vnis[n.VNI])
		}
		vnis[n.VNI] = n.UUID
		delete(v.vnis, record.VNIKey(n.VNI))
	}
	for key, owner := range v.vnis {
		v.fail("%s is claimed by %s, which does not exist", key, owner)
	}
}

func (v *view) instance(id string) *spec.Instance {
	i := slices.IndexFunc(v.instances, func(i spec.Instance) bool { return i.UUID == id })
	if i < 0 {
		return nil
	}
	return &v.instances[i]
}

func (v *view) checkLedgers() {
	for _, n := range v.nodes {
		var sum spec.Capacity
		for _, i := range v.instances {
			if i.Node == n.Name && !i.Deletion.Gone() {
				sum = sum.Add(i.Claim())
			}
		}
		if sum != n.Used {
			v.fail("node %s has given away %+v, its ledger says %+v", n.Name, sum, n.Used)
		}
		if left := n.Limits.Sub(sum); left.CPUs < 0 || left.MemoryMiB < 0 || left.DiskGB < 0 || left.Instances < 0 {
			v.fail("node %s is over-committed: %+v of %+v", n.Name, sum, n.Limits)
		}
	}
}

// checkStates finds what is still going on.
func (v *view) checkStates() {
	for _, i := range v.instances {
		s := i.Status
		switch {
		case i.Deletion != nil && !i.Deletion.Gone():
			v.fail("instance %s is still being deleted", i.UUID)
		case i.Deletion.Gone() != (s.State == sf.StateDeleted):
			v.fail("instance %s: state %s, deletion %+v", i.UUID, s.State, i.Deletion)
		case s.State == sf.StateInitial, s.State == sf.StateCreating:
			v.fail("instance %s is still %s (%+v)", i.UUID, s.State, s.Wait)
		case s.State == sf.StateError && s.Error == "":
			v.fail("instance %s is in error without a cause", i.UUID)
		case s.State == sf.StateCreated && s.Generation != i.Power.Generation:
			v.fail("instance %s: wish %d is not answered (%+v)", i.UUID, i.Power.Generation, s.Wait)
		}
	}
	for key, o := range v.ops {
		if !o.State.Ended() {
			v.fail("%s is still %s", key, o.State)
		}
	}
	for id, s := range v.snapshots {
		if s.Deletion != nil || s.Status.State == sf.StateInitial || s.Status.State == sf.StateCreating {
			v.fail("snapshot %s is still %s (%+v)", id, s.Status.State, s.Deletion)
		}
	}
	for _, n := range v.networks {
		switch {
		case n.UUID == spec.FloatingNetwork:
		case n.Deletion != nil && !n.Deletion.Gone():
			v.fail("network %s is still being deleted", n.UUID)
		case n.Deletion == nil && n.Status.State != sf.StateCreated:
			v.fail("network %s is still %s (%+v)", n.UUID, n.Status.State, n.Status.Wait)
		}
	}
}
