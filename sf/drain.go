package sf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/node"
	"github.com/shakenfist/cloud/sf/internal/place"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// DrainOptions say how far a node is to be emptied.
type DrainOptions struct {
	// Recover starts the node's instances again on other nodes, from their images:
	// what is on their disks is lost.
	Recover bool
	// Ask is how long each guest is asked to shut itself down before its plug is
	// pulled; 0 is a minute, negative asks nobody. It is an hour at most.
	Ask time.Duration
}

// Drained is what became of a node's part in the cloud.
type Drained struct {
	Routers   []string          `json:"routers"`   // networks that other nodes route now
	Recovered []string          `json:"recovered"` // instances that other nodes run now
	Remains   map[string]string `json:"remains"`   // what is still there, by UUID, and why
}

// DrainNode cordons a node, gives the routers that it has to other nodes and, where
// that is asked for, its instances too. What cannot be moved is in Remains and
// goes on as it was, so does an instance that has not stopped two minutes after its
// guest was asked for long enough: its hypervisor hangs. It can be repeated.
func (c *Cloud) DrainNode(ctx context.Context, name string, opt DrainOptions) (*Drained, error) {
	if err := c.CordonNode(ctx, name); err != nil {
		return nil, err
	}
	d := &Drained{Routers: []string{}, Recovered: []string{}, Remains: map[string]string{}}
	networks, err := c.workOf(ctx, name, KindNetwork)
	if err != nil {
		return nil, err
	}
	for _, id := range append(networks, FloatingNetwork) { // whose router is the edge
		moved, err := c.moveRouter(ctx, id, name)
		switch {
		case ctx.Err() != nil:
			return d, ctx.Err()
		case err != nil:
			d.Remains[id] = "its router: " + err.Error()
		case moved:
			d.Routers = append(d.Routers, id)
		}
	}
	instances, err := c.workOf(ctx, name, KindInstance)
	if err != nil {
		return nil, err
	}
	for _, id := range instances {
		i, err := c.Instance(ctx, id)
		if err != nil || i.Node != name || i.Deletion != nil {
			continue
		}
		if !opt.Recover {
			d.Remains[id] = fmt.Sprintf("instance %s runs there: delete it, or recover it elsewhere, which loses what is on its disks", i.Name)
			continue
		}
		if err := c.evacuate(ctx, i, opt.Ask); err != nil {
			if ctx.Err() != nil {
				return d, ctx.Err()
			}
			d.Remains[id] = err.Error()
			continue
		}
		d.Recovered = append(d.Recovered, id)
	}
	return d, nil
}

// workOf returns the objects of a kind that a node has a part in, sorted.
func (c *Cloud) workOf(ctx context.Context, name string, kind Kind) ([]string, error) {
	set, err := c.names(ctx, record.WorkKey(name, kind, ""))
	ids := make([]string, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, err
}

// moveRouter gives a network's router to another node where this one has it.
func (c *Cloud) moveRouter(ctx context.Context, network, from string) (moved bool, err error) {
	err = record.Retry(ctx, func() error {
		r, err := record.Get[spec.Router](ctx, c.records, record.RouterKey(network))
		if err != nil || r.Value.Node != from {
			return ignoreNotFound(err)
		}
		if _, err := c.store.Get(ctx, record.EndKey(network)); err == nil {
			return nil // it is on its way out
		}
		to, err := c.heir(ctx, network, from)
		if err != nil {
			return err
		}
		now := c.cfg.Clock.Now()
		t := c.records.Begin().If(store.Exists(record.NodeLiveKey(to)), store.Absent(record.EndKey(network)))
		record.Replace(t, r, spec.Router{Node: to, Since: now})
		if err := wake[spec.NetworkStatus](ctx, c, t, record.NetworkStatusKey(network)); err != nil {
			return err
		}
		if network != FloatingNetwork {
			t.Put(record.MemberKey(network, to), claims.Empty{})
			t.Put(record.WorkKey(to, KindNetwork, network), claims.Empty{})
		}
		e := Event{Time: now, Kind: KindNetwork, Object: network, Node: to, Operation: "router moved", Phase: from + " -> " + to, Message: "node " + from + " is drained"}
		if err := c.records.Event(ctx, t, e); err != nil {
			return err
		}
		_, err = c.records.Commit(ctx, t)
		moved = err == nil
		return err
	})
	return moved, storeError(err)
}

// heir chooses the node that is to route a network instead of another: one with
// guests on it if there is, else any.
func (c *Cloud) heir(ctx context.Context, network, from string) (string, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return "", err
	}
	members, err := c.names(ctx, record.MemberPrefix(network))
	if err != nil {
		return "", err
	}
	var near, any []string
	for _, n := range nodes {
		if !n.Live || n.Cordoned || n.Name == from {
			continue
		}
		any = append(any, n.Name)
		if members[n.Name] {
			near = append(near, n.Name)
		}
	}
	if len(near) == 0 {
		near = any
	}
	if len(near) == 0 {
		return "", spec.Errorf(ErrNoCapacity, "no other node is there that takes anything").About("network", network)
	}
	return node.Succession(network, near)[0], nil
}

// evacuate stops an instance and starts it again elsewhere.
func (c *Cloud) evacuate(ctx context.Context, i *Instance, ask time.Duration) error {
	want := cmp.Or(i.Power.Then, i.Power.Want) // an earlier drain may have been interrupted
	if ask == 0 {
		ask = time.Minute
	}
	// First whether it has a place to go, so that nothing is stopped in vain.
	elsewhere := &Instance{UUID: i.UUID, Namespace: i.Namespace, InstanceSpec: anywhere(i.InstanceSpec)}
	if err := c.fits(ctx, elsewhere); err != nil {
		return err
	}
	id := i.UUID
	ask = min(ask, spec.MaxAsk)
	i, err := c.setPower(ctx, id, spec.Power{Want: PowerOff, Ask: c.cfg.Clock.Now().Add(ask), Then: want})
	if err == nil {
		i, err = c.stopped(ctx, i, max(ask, 0)+stopsWithin)
	}
	if err == nil {
		err = record.Retry(ctx, func() error { return c.move(ctx, i, want) })
	}
	if err != nil { // as it was, where it was, although nobody may wait for this any more
		err = errors.Join(storeError(err), c.undoEvacuation(context.WithoutCancel(ctx), id))
	}
	return err
}

// fits says why an instance has no place, if so.
func (c *Cloud) fits(ctx context.Context, i *Instance) error {
	all, err := c.candidates(ctx, i)
	if err != nil {
		return err
	}
	defer c.keep(all)
	if place.Best(all.candidates, request(i, ""), c.intn) < 0 {
		return c.noPlace(i, "", all.candidates)
	}
	return nil
}

// stopsWithin is how long the plug of a machine takes at most to be pulled, with all that
// may be tried again meanwhile.
const stopsWithin = 2 * time.Minute

// Pauses between looks at an instance that is to stop: the first, and where doubling it ends.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// stopped waits for an instance's last wish to be answered, up to a time after which nobody
// can count on that any more.
func (c *Cloud) stopped(ctx context.Context, i *Instance, within time.Duration) (*Instance, error) {
	start, settled := c.cfg.Clock.Now(), PowerSettled(i.Power.Generation)
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		if done, err := settled(i); done || err != nil {
			return i, err
		}
		if c.cfg.Clock.Now().Sub(start) >= within {
			return nil, stuck(i, within)
		}
		if err := c.cfg.Clock.Wait(ctx, pause, nil); err != nil {
			return nil, err
		}
		now, err := c.Instance(ctx, i.UUID)
		if err != nil {
			return nil, err
		}
		i = now
	}
}

// stuck says why an instance did not stop, and what can be done.
func stuck(i *Instance, within time.Duration) error {
	why := ""
	switch w := i.Status.Wait; {
	case !i.Status.Unreachable.IsZero():
		why = fmt.Sprintf(", and node %s has been away since %s", i.Node, i.Status.Unreachable.UTC().Format(time.RFC3339))
	case w != nil:
		why = ", it waits for " + w.Reason
	}
	return spec.Errorf(ErrTimeout, "instance %s has not stopped within %v%s; it is wanted as before again. Where its hypervisor hangs, mend that and drain again, or switch node %s off and recover the instance",
		i.Name, within, why, i.Node).About("instance", i.UUID)
}

// undoEvacuation has an instance that was stopped to be moved run again, unless
// somebody has wished otherwise since.
func (c *Cloud) undoEvacuation(ctx context.Context, id string) error {
	i, err := c.Instance(ctx, id)
	if err != nil || i.Power.Then == "" {
		return ignoreGone(err)
	}
	_, err = c.setPower(ctx, id, spec.Power{Want: i.Power.Then})
	return ignoreGone(err)
}

// ignoreGone is err unless the object is gone.
func ignoreGone(err error) error {
	if spec.ClassOf(err) == ErrNotFound {
		return nil
	}
	return err
}

// anywhere is s without where it was asked to be.
func anywhere(s InstanceSpec) InstanceSpec {
	s.PlacedOn = ""
	return s
}

// RemoveNode removes a node that is gone for good: its routers move, and what was
// deleted while it was away is finalized. ErrConflict while it is there, ErrInUse
// while instances are on it: recover or delete them first. If it comes back after
// all, it does so as a new node with nothing on it.
func (c *Cloud) RemoveNode(ctx context.Context, name string) error {
	if _, err := record.Get[spec.Node](ctx, c.records, record.NodeKey(name)); err != nil {
		return notFound(err, KindNode, name)
	}
	if _, err := c.store.Get(ctx, record.NodeLiveKey(name)); err == nil {
		return spec.Errorf(ErrConflict, "node %s is there: drain it and stop its daemon first", name).About("node", name)
	} else if !errors.Is(err, store.ErrNotFound) {
		return storeError(err)
	}
	if err := c.CordonNode(ctx, name); err != nil { // nothing new comes from here on, should it return
		return err
	}
	if err := c.removeInstances(ctx, name); err != nil {
		return err
	}
	networks, err := c.workOf(ctx, name, KindNetwork)
	if err != nil {
		return err
	}
	for _, id := range networks {
		if err := c.leaveFor(ctx, id, name); err != nil {
			return err
		}
	}
	if err := c.removeSnapshots(ctx, name); err != nil {
		return err
	}
	used, err := record.Get[spec.Capacity](ctx, c.records, record.NodeUsedKey(name))
	if err != nil {
		return notFound(err, KindNode, name)
	}
	if used.Value != (spec.Capacity{}) { // placed before it was cordoned, recorded after we looked
		return spec.Errorf(ErrInUse, "an instance has just been placed on node %s: recover or delete it first", name).About("node", name)
	}
	none := func() (map[string]bool, error) { return nil, nil }
	if err := claims.LetGo(ctx, c.records, name, none); err != nil {
		return storeError(err)
	}
	t := c.records.Begin().If(store.Absent(record.NodeLiveKey(name)), store.RevisionIs(used.Key, used.Revision))
	t.Delete(record.NodeKey(name), record.NodeUsedKey(name), record.NodeSeenKey(name), record.NodeLostKey(name), record.CordonKey(name), record.NodeJoinedKey(name))
	t.DeletePrefix(record.WorkPrefix(name), record.EventPrefix(KindNode, name))
	_, err = c.records.Commit(ctx, t)
	return storeError(err)
}

// removeInstances ends what was deleted on a node that is gone.
func (c *Cloud) removeInstances(ctx context.Context, name string) error {
	ids, err := c.workOf(ctx, name, KindInstance)
	if err != nil {
		return err
	}
	var left []string
	for _, id := range ids {
		o, err := record.Get[spec.Instance](ctx, c.records, record.InstanceKey(id))
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && o.Value.Node != name:
		case err != nil:
			return storeError(err)
		case o.Value.Deletion == nil:
			left = append(left, id)
		default:
			if err := claims.FinalizeInstance(ctx, c.records, id, c.cfg.Clock.Now(), c.cfg.DeletedFor); err != nil {
				return storeError(err)
			}
		}
	}
	if len(left) > 0 {
		return spec.Errorf(ErrInUse, "%d instances are on node %s, such as %s: recover or delete them first", len(left), name, left[0]).About("node", name)
	}
	return nil
}

// leaveFor leaves a network in the place of a node that is gone.
func (c *Cloud) leaveFor(ctx context.Context, network, name string) error {
	if _, err := c.moveRouter(ctx, network, name); err != nil {
		return err
	}
	if _, err := c.records.Commit(ctx, c.records.Begin().Delete(record.MemberKey(network, name))); err != nil {
		return storeError(err)
	}
	err := claims.FinalizeNetwork(ctx, c.records, network, c.cfg.Clock.Now(), c.cfg.DeletedFor)
	if errors.Is(err, store.ErrConflict) {
		return nil // others have a part in it
	}
	return storeError(err)
}

// removeSnapshots forgets the snapshots that were kept on a node that is gone.
func (c *Cloud) removeSnapshots(ctx context.Context, name string) error {
	all, _, _, err := record.List[spec.Snapshot](ctx, c.records, record.SnapshotKey(""), store.Page{})
	if err != nil {
		return storeError(err)
	}
	for _, o := range all {
		if o.Value.Node != name {
			continue
		}
		if _, err := c.records.Commit(ctx, claims.ForgetSnapshot(c.records.Begin(), o.Value)); err != nil {
			return storeError(err)
		}
	}
	return nil
}
