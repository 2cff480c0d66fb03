// Package claims gives back what objects hold when they end: the transactions
// that finalize deletions, and the janitor's that forget what was deleted.
//
// Addresses rest after a delete, since guests' ARP caches and leases outlive it;
// MACs and VNIs are drawn at random from spaces so large that they rest by
// themselves.
package claims

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// RestTime is how long an address is not handed out again while others are free.
const RestTime = 5 * time.Minute

// Address is the record of a claimed address.
type Address struct {
	Owner  string    `json:"owner"` // UUID of an interface, or of the network it is the gateway of
	Rested time.Time `json:"rested,omitzero"`
}

// Owned is the record of any other claim.
type Owned struct {
	Owner string `json:"owner"`
}

// Where finds an interface by its UUID.
type Where struct {
	Network  string `json:"network"`
	Instance string `json:"instance"`
}

// Placed is what an index of instances says of one.
type Placed struct {
	Node string `json:"node"`
}

// Lost is the record of a node that is gone.
type Lost struct {
	At time.Time `json:"at"` // it surely had no session any more
}

// Lose records that a node is gone, unless that is recorded or it is there.
func Lose(ctx context.Context, c *record.Client, node string, now time.Time) error {
	t := c.Begin().If(store.Absent(record.NodeLiveKey(node)), store.Exists(record.NodeKey(node)))
	_, err := c.Commit(ctx, t.Create(record.NodeLostKey(node), Lost{now}))
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// Empty is the record of a key whose existence says it all.
type Empty struct{}

// Rest adds giving back an address to t.
func Rest(t *record.Txn, network string, addr netip.Addr, now time.Time) {
	t.Put(record.AddressKey(network, addr.String()), Address{Rested: now})
	t.Put(record.ExpiryKey(now.Add(RestTime), "address", network, addr.String()), Empty{})
}

// FinalizeInstance ends the deletion of an instance that is gone from its host:
// its claims are released and its record says deleted until keep has passed.
func FinalizeInstance(ctx context.Context, c *record.Client, id string, now time.Time, keep time.Duration) error {
	if err := endOperations(ctx, c, id, now); err != nil {
		return err
	}
	_, err := record.Update(ctx, c, record.InstanceKey(id), func(i *spec.Instance, t *record.Txn) error {
		if i.Deletion.Gone() {
			return record.ErrUnchanged
		}
		if i.Deletion == nil {
			i.Deletion = &spec.Deletion{Requested: now}
		}
		i.Deletion.Done = now
		status, err := record.Get[spec.InstanceStatus](ctx, c, record.InstanceStatusKey(id))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s := status.Value
		s.State, s.Since, s.Wait = spec.StateDeleted, now, nil
		if s.Power != spec.PowerOff {
			s.PowerBefore, s.Power, s.PowerSince = s.Power, spec.PowerOff, now
		}
		if status.Key != "" {
			record.Replace(t, status, s)
		} else {
			t.Create(record.InstanceStatusKey(id), s)
		}
		if err := releaseInterfaces(ctx, c, t, i, now); err != nil {
			return err
		}
		if err := releaseCapacity(ctx, c, t, i); err != nil {
			return err
		}
		for _, tag := range i.Tags {
			t.Delete(record.TagKey(i.Namespace, tag, id))
		}
		t.Delete(record.WorkKey(i.Node, spec.KindInstance, id), record.LivePrefix(spec.KindInstance, i.Namespace)+id)
		t.Put(record.DeadPrefix(spec.KindInstance, i.Namespace)+id, Empty{})
		t.Put(record.ExpiryKey(now.Add(keep), "instance", id), Empty{})
		return c.Event(ctx, t, spec.Event{Time: now, Kind: spec.KindInstance, Object: id, Node: i.Node, Operation: "delete", Phase: "finish"})
	})
	return ignoreMissing(err)
}

// endOperations ends what an instance's node has not ended, because it is gone for
// good. A node that is there ends them itself before it ends an instance.
func endOperations(ctx context.Context, c *record.Client, id string, now time.Time) error {
	const why = "the instance was deleted, and its node is gone"
	list, _, _, err := record.List[spec.Operation](ctx, c, record.OperationPrefix(id), store.Page{})
	for _, o := range list {
		_, err := record.Update(ctx, c, record.OperationStatusPrefix(id)+o.Value.ID, func(s *spec.OperationStatus, t *record.Txn) error {
			if s.State.Ended() {
				return record.ErrUnchanged
			}
			s.State, s.Since, s.Error = spec.OperationFailed, now, why
			if o.Value.Kind != spec.OpSnapshot {
				return nil
			}
			snap, err := record.Get[spec.SnapshotStatus](ctx, c, record.SnapshotStatusKey(o.Value.Snapshot))
			if err == nil && snap.Value.State != spec.StateCreated {
				failed := snap.Value
				failed.State, failed.Since, failed.Error = spec.StateError, now, why
				record.Replace(t, snap, failed)
			}
			return ignoreMissing(err)
		})
		if ignoreMissing(err) != nil {
			return err
		}
	}
	return err
}

func releaseInterfaces(ctx context.Context, c *record.Client, t *record.Txn, i *spec.Instance, now time.Time) error {
	for _, ref := range i.NICs {
		nic, err := record.Get[spec.Interface](ctx, c, record.InterfaceKey(ref.Network, ref.UUID))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		mac, err := spec.ParseMAC(nic.Value.MAC)
		if err != nil {
			return err
		}
		t.If(store.RevisionIs(nic.Key, nic.Revision)) // it may be given a floating address just now
		t.Delete(nic.Key, record.InterfaceIndexKey(ref.UUID), record.MACKey(mac)).DeletePrefix(record.EventPrefix(spec.KindInterface, ref.UUID))
		Rest(t, ref.Network, nic.Value.Address, now)
		if nic.Value.Floating.IsValid() {
			Rest(t, spec.FloatingNetwork, nic.Value.Floating, now)
		}
	}
	return nil
}

func releaseCapacity(ctx context.Context, c *record.Client, t *record.Txn, i *spec.Instance) error {
	used, err := record.Get[spec.Capacity](ctx, c, record.NodeUsedKey(i.Node))
	if err != nil {
		return ignoreMissing(err)
	}
	record.Replace(t, used, used.Value.Sub(i.Claim()))
	return nil
}

// FinalizeNetwork ends the deletion of a network once no node has a part in it
// any more; store.ErrConflict while one has.
func FinalizeNetwork(ctx context.Context, c *record.Client, id string, now time.Time, keep time.Duration) error {
	members, _, _, err := record.List[Empty](ctx, c, record.MemberPrefix(id), store.Page{Limit: 1})
	if err != nil {
		return err
	}
	if len(members) > 0 {
		return store.ErrConflict
	}
	_, err = record.Update(ctx, c, record.NetworkKey(id), func(n *spec.Network, t *record.Txn) error {
		if n.Deletion == nil || n.Deletion.Gone() {
			return record.ErrUnchanged
		}
		n.Deletion.Done = now
		t.If(store.PrefixEmpty(record.MemberPrefix(id)))
		status, err := record.Get[spec.NetworkStatus](ctx, c, record.NetworkStatusKey(id))
		if err != nil {
			return err
		}
		record.Replace(t, status, spec.NetworkStatus{State: spec.StateDeleted, Since: now})
		t.Delete(record.VNIKey(n.VNI), record.LivePrefix(spec.KindNetwork, n.Namespace)+id)
		t.DeletePrefix(record.AddressPrefix(id), record.MeshPrefix(id))
		if n.Gateway.IsValid() {
			Rest(t, spec.FloatingNetwork, n.Gateway, now)
		}
		t.Put(record.DeadPrefix(spec.KindNetwork, n.Namespace)+id, Empty{})
		t.Put(record.ExpiryKey(now.Add(keep), "network", id), Empty{})
		return c.Event(ctx, t, spec.Event{Time: now, Kind: spec.KindNetwork, Object: id, Operation: "delete", Phase: "finish"})
	})
	return ignoreMissing(err)
}

// Forget removes what is left of a deleted object.
func Forget(ctx context.Context, c *record.Client, kind spec.Kind, id string) error {
	t := c.Begin()
	switch kind {
	case spec.KindInstance:
		o, err := record.Get[spec.Instance](ctx, c, record.InstanceKey(id))
		if err != nil || !o.Value.Deletion.Gone() {
			return ignoreMissing(err)
		}
		t.Delete(o.Key, record.InstanceStatusKey(id), record.UserDataKey(id), record.DeadPrefix(kind, o.Value.Namespace)+id)
	case spec.KindNetwork:
		o, err := record.Get[spec.Network](ctx, c, record.NetworkKey(id))
		if err != nil || !o.Value.Deletion.Gone() {
			return ignoreMissing(err)
		}
		t.Delete(o.Key, record.NetworkStatusKey(id), record.DeadPrefix(kind, o.Value.Namespace)+id)
	}
	t.Delete(record.MetadataKey(kind, id)).DeletePrefix(record.EventPrefix(kind, id))
	if kind == spec.KindInstance {
		t.DeletePrefix(record.OperationPrefix(id), record.OperationStatusPrefix(id))
	}
	_, err := c.Commit(ctx, t)
	return err
}

// ForgetSnapshot adds to t that nothing is known of a snapshot any more.
func ForgetSnapshot(t *record.Txn, s spec.Snapshot) *record.Txn {
	return t.Delete(record.SnapshotKey(s.UUID), record.SnapshotStatusKey(s.UUID),
		record.SnapshotIndexKey(s.Instance, s.Created, s.UUID), record.LivePrefix(spec.KindSnapshot, s.Namespace)+s.UUID)
}

// ForgetAddress removes a claim that has rested, unless it is in use again, or rests anew.
func ForgetAddress(ctx context.Context, c *record.Client, network, addr string, now time.Time) error {
	o, err := record.Get[Address](ctx, c, record.AddressKey(network, addr))
	if err != nil || o.Value.Rested.IsZero() || later(o.Value.Rested.Add(RestTime), now) {
		return ignoreMissing(err)
	}
	t := c.Begin().If(store.RevisionIs(o.Key, o.Revision)).Delete(o.Key)
	if _, err = c.Commit(ctx, t); errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// ForgetOnce removes an idempotency key, unless it is one that was used anew since.
func ForgetOnce(ctx context.Context, c *record.Client, key string, now time.Time) error {
	o, err := record.Get[struct{ Until time.Time }](ctx, c, key)
	if err != nil || later(o.Value.Until, now) {
		return ignoreMissing(err)
	}
	_, err = c.Commit(ctx, c.Begin().If(store.RevisionIs(o.Key, o.Revision)).Delete(o.Key))
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// later reports whether something that ends at a time has an entry of its own in the
// expiry list, which comes later than one that is due now. (Entries are of whole seconds.)
func later(end, now time.Time) bool { return end.Sub(now) > time.Second }

func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
