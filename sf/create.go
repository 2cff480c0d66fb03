package sf

import (
	"cmp"
	"context"
	"errors"
	"net/netip"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/layout"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// CreateInstance places and records an instance in one transaction with all it
// claims: addresses, MACs, room on its node. The node then builds and starts it
// (see WaitInstance).
//
// ErrInvalid for a bad spec, ErrNotFound for an unknown namespace or a network
// that is not the namespace's, ErrConflict for an address or MAC in use,
// ErrNoCapacity, with a reason per node, where nothing can take it.
func (c *Cloud) CreateInstance(ctx context.Context, namespace string, want InstanceSpec) (*Instance, error) {
	return c.createInstance(ctx, namespace, want, Kept{})
}

func (c *Cloud) createInstance(ctx context.Context, namespace string, want InstanceSpec, kept Kept) (*Instance, error) {
	if err := c.validate(want); err != nil {
		return nil, err
	}
	// Placements of one process queue here: they would only fail each other's
	// conditions on the nodes' ledgers.
	if err := c.cfg.Clock.Wait(ctx, -1, c.placing); err != nil {
		return nil, err
	}
	defer func() { c.placing <- struct{}{} }()
	var made *Instance
	err := record.Retry(ctx, func() error {
		body := struct {
			InstanceSpec
			UserData []byte
			Metadata Metadata
		}{want, want.UserData, want.Metadata}
		if id, err := c.once(ctx, namespace, KindInstance, want.IdempotencyKey, body); err != nil || id != "" {
			if err == nil {
				made, err = c.Instance(ctx, id)
			}
			return err
		}
		if i, err := c.importedInstance(ctx, kept); i != nil || err != nil {
			made = i
			return err
		}
		i, t, err := c.planInstance(ctx, namespace, want, kept)
		if err != nil {
			return err
		}
		if err := c.remember(t, namespace, KindInstance, want.IdempotencyKey, body, i.UUID); err != nil {
			return err
		}
		_, err = c.records.Commit(ctx, t)
		made = i
		return err
	})
	if err != nil {
		return nil, storeError(err)
	}
	return made, nil
}

// validate says what is wrong with a request in itself.
func (c *Cloud) validate(want InstanceSpec) error {
	if err := want.Validate(); err != nil {
		return err
	}
	if err := metadataFits(want.Metadata); err != nil {
		return err
	}
	if _, _, err := spec.ParseAffinity(want.Metadata); err != nil {
		return err
	}
	devices, err := layout.Devices(want.Disks, nil, c.cfg.DiskBus)
	if err == nil {
		err = layout.FitCards(devices, len(want.Interfaces))
	}
	if err != nil {
		return spec.Errorf(ErrInvalid, "%v", err)
	}
	return nil
}

// planInstance makes the one transaction that creates an instance.
func (c *Cloud) planInstance(ctx context.Context, namespace string, want InstanceSpec, kept Kept) (*Instance, *record.Txn, error) {
	if err := c.exists(ctx, KindNamespace, namespace); err != nil {
		return nil, nil, err
	}
	now := c.cfg.Clock.Now()
	i := &Instance{
		UUID: cmp.Or(kept.UUID, c.newUUID()), Namespace: namespace, Created: now, InstanceSpec: want,
		Seed: make([]byte, 512), UserDataSize: len(want.UserData),
		Power: spec.Power{Want: PowerOn, Generation: 1},
	}
	if kept.UUID != "" {
		i.Power.Want = cmp.Or(kept.Power, PowerOff)
		i.Brought = kept.Brought
	}
	c.random(i.Seed)
	i.Status = spec.InstanceStatus{State: StateInitial, Since: now, Power: PowerInitial}
	forced, err := c.resolveSnapshots(ctx, namespace, &want)
	if err != nil {
		return nil, nil, err
	}
	if i.Tags, _, err = spec.ParseAffinity(want.Metadata); err != nil {
		return nil, nil, err
	}
	put := c.placeInstance
	if kept.Node != "" {
		put, forced = c.placeKept, kept.Node
	}
	node, used, err := put(ctx, i, forced)
	if err != nil {
		return nil, nil, err
	}
	i.Node = node
	t := c.records.Begin()
	nics, err := c.planInterfaces(ctx, t, i, kept.Interfaces)
	if err != nil {
		return nil, nil, err
	}
	t.Create(record.InstanceKey(i.UUID), i)
	t.Create(record.InstanceStatusKey(i.UUID), i.Status)
	for _, nic := range nics {
		t.Put(record.InterfaceKey(nic.Network, nic.UUID), nic)
		t.Put(record.InterfaceIndexKey(nic.UUID), claims.Where{Network: nic.Network, Instance: i.UUID})
	}
	if len(want.UserData) > 0 {
		t.PutBytes(record.UserDataKey(i.UUID), want.UserData)
	}
	if len(want.Metadata) > 0 {
		t.Put(record.MetadataKey(KindInstance, i.UUID), want.Metadata)
	}
	for _, tag := range i.Tags {
		t.Put(record.TagKey(namespace, tag, i.UUID), claims.Placed{Node: i.Node})
	}
	if used.Key == "" { // a node that is not there yet
		t.Create(record.NodeUsedKey(node), i.Claim())
	} else {
		record.Replace(t, used, used.Value.Add(i.Claim()))
	}
	t.Put(record.LivePrefix(KindInstance, namespace)+i.UUID, claims.Empty{})
	t.Put(record.WorkKey(node, KindInstance, i.UUID), claims.Empty{})
	t.If(store.Exists(record.NamespaceKey(namespace)))
	err = c.records.Event(ctx, t, Event{Time: now, Kind: KindInstance, Object: i.UUID, Node: node, Operation: "placement", Message: node})
	return i, t, err
}

// planInterfaces claims an address and a MAC for every NIC and adds them to t. kept
// is what they keep of another cloud, none for new ones.
func (c *Cloud) planInterfaces(ctx context.Context, t *record.Txn, i *Instance, kept []KeptInterface) ([]Interface, error) {
	var nics []Interface
	macs := map[string]bool{}
	addrs := map[string]map[netip.Addr]bool{} // chosen so far, by network
	floats := map[netip.Addr]bool{}
	for order, want := range i.Interfaces {
		n, err := record.Get[spec.Network](ctx, c.records, record.NetworkKey(want.Network))
		if err != nil || n.Value.Deletion != nil || n.Value.UUID == FloatingNetwork || n.Value.Namespace != i.Namespace && i.Namespace != System {
			if err == nil || errors.Is(err, store.ErrNotFound) {
				err = spec.Errorf(ErrNotFound, "network %s not found", want.Network).About("network", want.Network)
			}
			return nil, err
		}
		nic := Interface{
			UUID: c.newUUID(), Network: n.Value.UUID, Instance: i.UUID, Namespace: i.Namespace, Node: i.Node,
			Hostname: i.Name, Order: order, MAC: want.MAC, Model: want.Model, Created: i.Created,
		}
		float, asked := want.Float, ""
		if order < len(kept) {
			nic.UUID = cmp.Or(kept[order].UUID, nic.UUID)
			if kept[order].Floating.IsValid() {
				float, asked = true, kept[order].Floating.String()
			}
		}
		if nic.MAC == "" {
			nic.MAC = c.newMAC()
		}
		if nic.Model == "" {
			nic.Model = "virtio"
		}
		mac, err := spec.ParseMAC(nic.MAC)
		if err != nil {
			return nil, err
		}
		if mac == n.Value.RouterMAC {
			return nil, spec.Errorf(ErrConflict, "macaddress %s in use by the network's router", mac)
		}
		if err := c.claimMAC(ctx, t, mac, nic.UUID, macs); err != nil {
			return nil, err
		}
		mine := addrs[nic.Network]
		if mine == nil {
			mine = map[netip.Addr]bool{}
			addrs[nic.Network] = mine
		}
		if nic.Address, err = c.pickAddress(ctx, nic.Network, n.Value.Prefix(), want.Address, mine); err != nil {
			return nil, err
		}
		mine[nic.Address] = true
		if err := c.claimAddress(ctx, t, nic.Network, nic.Address, nic.UUID, want.Address); err != nil {
			return nil, err
		}
		if float {
			if err := c.floatWith(ctx, t, &nic, n.Value.NAT, asked, floats); err != nil {
				return nil, err
			}
			floats[nic.Floating] = true
		}
		if len(mine) == 1 { // the first NIC on this network
			t.If(store.RevisionIs(n.Key, n.Revision))
			t.Put(record.MemberKey(n.Value.UUID, i.Node), claims.Empty{})
			t.Put(record.WorkKey(i.Node, KindNetwork, n.Value.UUID), claims.Empty{})
		}
		i.NICs = append(i.NICs, spec.NICRef{UUID: nic.UUID, Network: nic.Network})
		nics = append(nics, nic)
	}
	return nics, nil
}

func (c *Cloud) claimMAC(ctx context.Context, t *record.Txn, mac, owner string, mine map[string]bool) error {
	_, err := c.store.Get(ctx, record.MACKey(mac))
	if err == nil || mine[mac] {
		return spec.Errorf(ErrConflict, "macaddress %s in use", mac)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	mine[mac] = true
	t.Create(record.MACKey(mac), claims.Owned{Owner: owner})
	return nil
}
