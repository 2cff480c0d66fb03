package sf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// fenceMargin is how long after its time a node's own fence is trusted to have
// fallen: for stopping the machines, and for clocks that run at different speeds.
const fenceMargin = 10 * time.Second

// RecoverInstance starts an instance whose node is gone again on another, from its
// images, with the same interfaces, addresses, user data and configuration. What
// was on its disks is lost. The node removes what is left of the instance when it
// returns, before it does anything else.
//
// Nothing may run twice, so the node's machines must have stopped. A node with
// NodeConfig.SelfFence sees to that by itself in time, which this process counts from when it
// first saw that the node was gone (Nodes and Instance look); of any other, and before,
// somebody has to know: fenced is the caller's word for it. So it is while less than
// half of all nodes are there, since the rest may go on in the belief that the store is
// away for all. Without either it is ErrConflict, as for an instance whose node is there. Further errors are
// ErrNotFound, and ErrNoCapacity where no other node can take it.
func (c *Cloud) RecoverInstance(ctx context.Context, id string, fenced bool) (*Instance, error) {
	err := record.Retry(ctx, func() error {
		i, err := c.Instance(ctx, id)
		if err != nil {
			return err
		}
		if i.Deletion != nil {
			return spec.Errorf(ErrNotFound, "instance not found").About("instance", id)
		}
		if err := c.fenced(ctx, i.Node, fenced); err != nil {
			return err
		}
		return c.move(ctx, i, i.Power.Want, store.Absent(record.NodeLiveKey(i.Node)))
	})
	if err != nil {
		return nil, storeError(err)
	}
	return c.Instance(ctx, id)
}

// fenced returns nil when nothing runs on a node any more.
func (c *Cloud) fenced(ctx context.Context, name string, word bool) error {
	_, err := c.store.Get(ctx, record.NodeLiveKey(name))
	if err == nil {
		return spec.Errorf(ErrConflict, "node %s is there: power the instance off, or drain the node, to start it elsewhere", name).About("node", name)
	}
	if !errors.Is(err, store.ErrNotFound) || word {
		return ignoreNotFound(err)
	}
	n, err := record.Get[spec.Node](ctx, c.records, record.NodeKey(name))
	if err != nil {
		return notFound(err, KindNode, name)
	}
	if n.Value.SelfFence == 0 {
		return spec.Errorf(ErrConflict, "node %s does not stop its machines by itself: make sure that it is off, and say so (fenced)", name).About("node", name)
	}
	now := c.cfg.Clock.Now()
	if err := claims.Lose(ctx, c.records, name, now); err != nil {
		return err
	}
	lost, err := record.Get[claims.Lost](ctx, c.records, record.NodeLostKey(name))
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrConflict // it came back just now: look again
	}
	if err != nil {
		return err
	}
	since, err := c.halfSince(ctx, name)
	if err != nil {
		return err
	}
	if since.IsZero() {
		return spec.Errorf(ErrConflict, "less than half of the nodes that node %s knows are there, so it may take that for an outage and let its machines run: make sure that it is off, and say so (fenced)", name).About("node", name)
	}
	if seen := c.sights.note(lost.Key, lost.Revision, now); since.Before(seen) {
		since = seen
	}
	if left := since.Add(n.Value.SelfFence + fenceMargin).Sub(now); left > 0 {
		return spec.Errorf(ErrConflict, "node %s has stopped its machines by itself in %s: wait for that, or make sure that it is off, and say so (fenced)",
			name, left.Round(time.Second)).About("node", name)
	}
	return nil
}

// halfSince says since when, as far as this process knows, at least half of all nodes
// that a lost one knows of have had their sessions; the zero time while less have. Until
// then that and others like it may have gone on without.
func (c *Cloud) halfSince(ctx context.Context, lost string) (since time.Time, err error) {
	known, err := claims.KnownTo(ctx, c.records, lost)
	if err != nil {
		return since, storeError(err)
	}
	sessions, err := c.sessions(ctx)
	maps.DeleteFunc(sessions, func(name string, _ time.Time) bool { return !known[name] })
	half := (len(known) + 1) / 2
	if err != nil || len(sessions) < half || half == 0 {
		return since, err
	}
	all := slices.SortedFunc(maps.Values(sessions), time.Time.Compare)
	return all[half-1], nil
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// move places an instance as it was read on another node, where it is built anew,
// in one transaction with all it claims there. The old node's entry in its work
// list stays, and makes it remove what it has.
func (c *Cloud) move(ctx context.Context, i *Instance, want PowerState, on ...store.Cond) error {
	if err := c.cfg.Clock.Wait(ctx, -1, c.placing); err != nil {
		return err
	}
	defer func() { c.placing <- struct{}{} }()
	now, from := c.cfg.Clock.Now(), i.Node
	i.PlacedOn = "" // where it was asked to be is what it has to leave
	forced, err := c.resolveSnapshots(ctx, i.Namespace, &i.InstanceSpec)
	if err != nil {
		return err
	}
	to, used, err := c.placeInstance(ctx, i, forced)
	if err != nil {
		return err
	}
	o, err := record.Get[spec.Instance](ctx, c.records, record.InstanceKey(i.UUID))
	if err != nil {
		return err
	}
	v := o.Value
	if v.Node != from || v.Deletion != nil || v.Power != i.Power || to == from {
		return store.ErrConflict
	}
	v.Brought = nil // it did not come along, and is made from its image
	v.Node, v.Power = to, spec.Power{Want: want, Generation: v.Power.Generation + 1}
	t := record.Replace(c.records.Begin(), o, v).If(on...).If(store.Exists(record.NodeLiveKey(to)))
	record.Replace(t, used, used.Value.Add(v.Claim()))
	if err := c.leaveNode(ctx, t, &v, from); err != nil {
		return err
	}
	joined := map[string]bool{}
	for _, ref := range v.NICs {
		nic, err := record.Get[spec.Interface](ctx, c.records, record.InterfaceKey(ref.Network, ref.UUID))
		if err != nil {
			return err
		}
		there := nic.Value
		there.Node = to
		record.Replace(t, nic, there)
		if joined[ref.Network] {
			continue
		}
		joined[ref.Network] = true
		t.Put(record.MemberKey(ref.Network, to), claims.Empty{})
		t.Put(record.WorkKey(to, KindNetwork, ref.Network), claims.Empty{})
	}
	for _, tag := range v.Tags {
		t.Put(record.TagKey(v.Namespace, tag, v.UUID), claims.Placed{Node: to})
	}
	t.Put(record.WorkKey(to, KindInstance, v.UUID), claims.Empty{})
	if err := c.records.Event(ctx, t, Event{
		Time: now, Kind: KindInstance, Object: v.UUID, Node: to, Operation: "recover",
		Phase: fmt.Sprintf("%s -> %s", from, to), Message: "started again from its images; what was on its disks is lost",
	}); err != nil {
		return err
	}
	_, err = c.records.Commit(ctx, t)
	return err
}

// leaveNode adds what an instance gives back on the node that it leaves, and a
// fresh status. (A node that was removed has no ledger any more.)
func (c *Cloud) leaveNode(ctx context.Context, t *record.Txn, i *Instance, from string) error {
	ledger, err := record.Get[spec.Capacity](ctx, c.records, record.NodeUsedKey(from))
	if err == nil {
		record.Replace(t, ledger, ledger.Value.Sub(i.Claim()))
		t.Put(record.WorkKey(from, KindInstance, i.UUID), claims.Empty{})
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	s, err := record.Get[spec.InstanceStatus](ctx, c.records, record.InstanceStatusKey(i.UUID))
	if err != nil {
		return err
	}
	record.Replace(t, s, spec.InstanceStatus{State: StateInitial, Since: c.cfg.Clock.Now(), Power: PowerInitial})
	return nil
}

// ForceDeleteInstance deletes an instance without waiting for a node that is away:
// it counts as deleted at once, and what it claims is free when the node has
// returned, or has been removed from the cloud. Of a node that is there it is
// DeleteInstance.
func (c *Cloud) ForceDeleteInstance(ctx context.Context, id string) error {
	if err := c.DeleteInstance(ctx, id); err != nil {
		return err
	}
	_, err := record.Update(ctx, c.records, record.InstanceKey(id), func(i *spec.Instance, t *record.Txn) error {
		_, err := c.store.Get(ctx, record.NodeLiveKey(i.Node))
		if err == nil || i.Deletion == nil || i.Deletion.Forced || i.Deletion.Gone() {
			return record.ErrUnchanged
		}
		i.Deletion.Forced = true
		t.If(store.Absent(record.NodeLiveKey(i.Node)))
		if err := ignoreNotFound(err); err != nil {
			return err
		}
		return wake[spec.InstanceStatus](ctx, c, t, record.InstanceStatusKey(id))
	})
	return notFound(err, KindInstance, id)
}
