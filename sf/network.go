package sf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/ipam"
	"github.com/shakenfist/cloud/sf/internal/node"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// CreateNetwork records a network; its node then builds it (see WaitNetwork).
// ErrInvalid for a bad spec, ErrNotFound for an unknown namespace, ErrNoCapacity
// where no node can be its router or the floating network is full.
func (c *Cloud) CreateNetwork(ctx context.Context, namespace string, want NetworkSpec) (*Network, error) {
	return c.createNetwork(ctx, namespace, want, Kept{})
}

func (c *Cloud) createNetwork(ctx context.Context, namespace string, want NetworkSpec, kept Kept) (*Network, error) {
	if err := want.Validate(); err != nil {
		return nil, err
	}
	var made *Network
	err := record.Retry(ctx, func() error {
		if id, err := c.once(ctx, namespace, KindNetwork, want.IdempotencyKey, want); err != nil || id != "" {
			if err == nil {
				made, err = c.Network(ctx, id)
			}
			return err
		}
		if n, err := c.importedNetwork(ctx, kept); n != nil || err != nil {
			made = n
			return err
		}
		n, t, err := c.planNetwork(ctx, namespace, want, kept)
		if err != nil {
			return err
		}
		if err := c.remember(t, namespace, KindNetwork, want.IdempotencyKey, want, n.UUID); err != nil {
			return err
		}
		_, err = c.records.Commit(ctx, t)
		made = n
		return err
	})
	if err != nil {
		return nil, storeError(err)
	}
	return made, nil
}

// networkVNIs is how many VNIs there are for networks: 1 to this.
const networkVNIs = node.OutsideVNI - 1

// planNetwork makes the one transaction that creates a network.
func (c *Cloud) planNetwork(ctx context.Context, namespace string, want NetworkSpec, kept Kept) (*Network, *record.Txn, error) {
	if err := c.exists(ctx, KindNamespace, namespace); err != nil {
		return nil, nil, err
	}
	now := c.cfg.Clock.Now()
	node, mtu, err := c.routerNode(ctx, kept.Node)
	if err != nil {
		return nil, nil, err
	}
	n := &Network{
		UUID: cmp.Or(kept.UUID, c.newUUID()), Namespace: namespace, Created: now, NetworkSpec: want,
		VNI: cmp.Or(kept.VNI, 1+uint32(c.intn(networkVNIs))), RouterMAC: c.newMAC(), Bytes: mtu - 50, Node: node,
	}
	router := spec.Router{Node: node, Since: now}
	n.Status = spec.NetworkStatus{State: StateInitial, Since: now}
	if err := c.vniFree(ctx, kept.VNI); err != nil {
		return nil, nil, err
	}
	t := c.records.Begin()
	if want.NAT {
		outside, err := record.Get[spec.Network](ctx, c.records, record.NetworkKey(FloatingNetwork))
		if err != nil {
			return nil, nil, err
		}
		asked := ""
		if kept.Gateway.IsValid() {
			asked = kept.Gateway.String()
		}
		t.If(store.RevisionIs(outside.Key, outside.Revision)) // it may get another block just now
		if n.Gateway, err = c.pickAddress(ctx, FloatingNetwork, outside.Value.Prefix(), asked, nil); err != nil {
			return nil, nil, err
		}
		if err := c.claimAddress(ctx, t, FloatingNetwork, n.Gateway, n.UUID, asked); err != nil {
			return nil, nil, err
		}
	}
	t.Create(record.NetworkKey(n.UUID), n)
	t.Create(record.NetworkStatusKey(n.UUID), n.Status)
	t.Create(record.RouterKey(n.UUID), router)
	t.Create(record.VNIKey(n.VNI), claims.Owned{Owner: n.UUID})
	if len(kept.Metadata) > 0 {
		t.Put(record.MetadataKey(KindNetwork, n.UUID), kept.Metadata)
	}
	t.Put(record.LivePrefix(KindNetwork, namespace)+n.UUID, claims.Empty{})
	t.Put(record.MemberKey(n.UUID, node), claims.Empty{})
	t.Put(record.WorkKey(node, KindNetwork, n.UUID), claims.Empty{})
	t.If(store.Exists(record.NamespaceKey(namespace)))
	err = c.records.Event(ctx, t, Event{Time: now, Kind: KindNetwork, Object: n.UUID, Node: node, Operation: "api", Phase: "create"})
	return n, t, err
}

// routerNode chooses the node that routes a new network, any that is live unless one
// is given, and says how large a frame of the underlay is on all nodes.
func (c *Cloud) routerNode(ctx context.Context, given string) (name string, mtu int, err error) {
	all, err := c.roster(ctx)
	if err != nil {
		return "", 0, err
	}
	defer c.keep(all)
	live, open := make([]string, 0, len(all.nodes())), false
	for k := range all.nodes() {
		n := &all.nodes()[k]
		carries := cmp.Or(n.MTU, 1500)
		mtu = min(carries, cmp.Or(mtu, carries))
		if !n.Live || n.Cordoned && open {
			continue
		}
		if !n.Cordoned && !open {
			live, open = live[:0], true // those that are cordoned were only better than none
		}
		live = append(live, n.Name)
	}
	switch {
	case given != "":
		return given, cmp.Or(mtu, 1500), nil
	case len(live) == 0:
		return "", 0, spec.Errorf(ErrNoCapacity, "insufficient capacity: no node is running that could route the network")
	}
	return live[c.intn(len(live))], mtu, nil
}

// Network returns one network, a deleted one too while its record is kept.
func (c *Cloud) Network(ctx context.Context, id string) (*Network, error) {
	o, err := record.Get[spec.Network](ctx, c.records, record.NetworkKey(id))
	if err != nil {
		return nil, notFound(err, KindNetwork, id)
	}
	s, err := record.Get[spec.NetworkStatus](ctx, c.records, record.NetworkStatusKey(id))
	if err != nil {
		return nil, notFound(err, KindNetwork, id)
	}
	r, err := record.Get[spec.Router](ctx, c.records, record.RouterKey(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) { // a deleted network has none
		return nil, storeError(err)
	}
	n := o.Value
	n.Status, n.Node = s.Value, r.Value.Node
	n.Version = fmt.Sprintf("%d.%d.%d", o.Revision, s.Revision, r.Revision)
	if n.Deletion != nil && !n.Deletion.Gone() {
		n.Status.State = StateDeleting
	}
	return &n, nil
}

// DeleteNetwork asks for a network to be deleted; see WaitNetwork. ErrInUse while
// an interface is on it, ErrForbidden for the floating network, ErrNotFound for
// one that is deleted or never was. Asking again while it goes is nil.
func (c *Cloud) DeleteNetwork(ctx context.Context, id string) error {
	if id == FloatingNetwork {
		return spec.Errorf(ErrForbidden, "you cannot delete the floating network").About("network", id)
	}
	now, again := c.cfg.Clock.Now(), false
	_, err := record.Update(ctx, c.records, record.NetworkKey(id), func(n *spec.Network, t *record.Txn) error {
		if n.Deletion.Gone() {
			return store.ErrNotFound
		}
		if again = n.Deletion != nil; again {
			return record.ErrUnchanged
		}
		used, _, _, err := record.List[spec.Interface](ctx, c.records, record.InterfacePrefix(id), store.Page{Limit: 1})
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return spec.Errorf(ErrInUse, "you cannot delete an in use network").About("network", id)
		}
		n.Deletion = &spec.Deletion{Requested: now}
		t.If(store.PrefixEmpty(record.InterfacePrefix(id)))
		t.Put(record.EndKey(id), claims.Empty{}) // which all members watch
		if err := wake[spec.NetworkStatus](ctx, c, t, record.NetworkStatusKey(id)); err != nil {
			return err
		}
		return c.records.Event(ctx, t, Event{Time: now, Kind: KindNetwork, Object: id, Operation: "api", Phase: "delete"})
	})
	if err == nil && again { // where no node is left that would
		err = claims.FinalizeNetwork(ctx, c.records, id, now, c.cfg.DeletedFor)
		if errors.Is(err, store.ErrConflict) {
			err = nil
		}
	}
	return notFound(err, KindNetwork, id)
}

// NetworkInterfaces returns the interfaces on a network.
func (c *Cloud) NetworkInterfaces(ctx context.Context, id string) ([]*Interface, error) {
	if err := c.exists(ctx, KindNetwork, id); err != nil {
		return nil, err
	}
	list, _, _, err := record.List[spec.Interface](ctx, c.records, record.InterfacePrefix(id), store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	all := make([]*Interface, 0, len(list))
	for i := range list {
		nic, err := c.withState(ctx, list[i].Value)
		if err != nil {
			return nil, err
		}
		all = append(all, nic)
	}
	return all, nil
}

// pickAddress chooses an address of a network's block: the one asked for, or a
// free one that is not in mine, the choices already made for the same request.
func (c *Cloud) pickAddress(ctx context.Context, network string, block netip.Prefix, asked string, mine map[netip.Addr]bool) (netip.Addr, error) {
	if asked != "" {
		addr, err := netip.ParseAddr(asked)
		if err == nil {
			err = ipam.Usable(block, addr)
		}
		if err != nil {
			return addr, spec.Errorf(ErrInvalid, "%v", err).About("network", network)
		}
		if mine[addr] {
			return addr, spec.Errorf(ErrConflict, "address %s is asked for twice", addr).About("network", network)
		}
		return addr, nil
	}
	for range ipam.Guesses(block) {
		addr := ipam.Random(block, c.intn)
		_, err := c.store.Get(ctx, record.AddressKey(network, addr.String()))
		if errors.Is(err, store.ErrNotFound) && !mine[addr] {
			return addr, nil
		}
	}
	taken, err := c.claimed(ctx, network)
	if err != nil {
		return netip.Addr{}, err
	}
	for addr := range mine {
		taken[addr] = ipam.Claim{Owner: "this request"}
	}
	addr, ok := ipam.Pick(block, taken, c.intn)
	if !ok {
		return addr, spec.Errorf(ErrNoCapacity, "insufficient capacity: all addresses of network %s (%s) are in use", network, block).About("network", network)
	}
	return addr, nil
}

// claimed reads all claims on a network's addresses.
func (c *Cloud) claimed(ctx context.Context, network string) (map[netip.Addr]ipam.Claim, error) {
	list, _, _, err := record.List[claims.Address](ctx, c.records, record.AddressPrefix(network), store.Page{})
	if err != nil {
		return nil, err
	}
	taken := make(map[netip.Addr]ipam.Claim, len(list))
	for _, o := range list {
		addr, err := netip.ParseAddr(record.Base(o.Key))
		if err != nil {
			return nil, fmt.Errorf("sf: %s: %w", o.Key, err)
		}
		taken[addr] = ipam.Claim{Owner: o.Value.Owner, Rested: o.Value.Rested}
	}
	return taken, nil
}

// claimAddress adds a claim to t on an address that nobody holds, or that rests.
// One that was not asked for and is held was taken since it was picked: another
// is to be picked then.
func (c *Cloud) claimAddress(ctx context.Context, t *record.Txn, network string, addr netip.Addr, owner, asked string) error {
	key := record.AddressKey(network, addr.String())
	have, err := record.Get[claims.Address](ctx, c.records, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		t.Create(key, claims.Address{Owner: owner})
		return nil
	case err != nil:
		return err
	case have.Value.Rested.IsZero() && asked == "":
		return store.ErrConflict
	case have.Value.Rested.IsZero():
		return spec.Errorf(ErrConflict, "address %s in use", addr).About("network", network)
	}
	record.Replace(t, have, claims.Address{Owner: owner})
	return nil
}

// newMAC returns a random locally administered unicast address.
func (c *Cloud) newMAC() string {
	var b [4]byte
	c.random(b[:])
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}
