package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// register writes the node's record and opens its session.
func (a *Agent) register(ctx context.Context) error {
	info, err := a.Hypervisor.Info(ctx)
	if err != nil {
		return fmt.Errorf("hypervisor: %w", err)
	}
	space, err := a.Volumes.Space(ctx)
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	n := spec.Node{
		Name: a.Name, Version: a.Version, Level: spec.Level, Peer: a.Endpoint, PeerKey: a.EndpointKey, Started: a.Clock.Now(),
		Driver: info.Driver, Accel: info.Accel, Notes: info.Notes,
		Buses: info.Buses, NICModels: info.NICModels, VideoModels: info.VideoModels, UEFI: info.UEFI,
		MTU: a.MTU, SelfFence: a.SelfFence,
		CPUs: info.CPUs, MemoryMiB: info.MemoryMiB, DiskGB: int(space.Total >> 30),
	}
	if a.Address.IsValid() {
		n.Address = a.Address.String()
	}
	n.Limits = a.limits(n)
	mine, err := a.putNode(ctx, n)
	if err != nil {
		return err
	}
	return a.openSession(ctx, mine)
}

// limits is what instances may claim of the node in all.
func (a *Agent) limits(n spec.Node) spec.Capacity {
	reserved := a.ReservedMemoryMiB
	if reserved == 0 {
		reserved = min(n.MemoryMiB/8, 5<<10)
	}
	memory := n.MemoryMiB - max(reserved, 0)
	return spec.Capacity{
		CPUs:      int(float64(n.CPUs) * a.CPUOvercommit),
		MemoryMiB: max(int(float64(memory)*a.MemoryOvercommit), 0),
		DiskGB:    n.DiskGB,
		Instances: a.MaxInstances,
	}
}

// Live is the record that exists while a node's agent holds its session.
type Live struct {
	Since time.Time `json:"since"`
}

// openSession opens one for the node whose record this agent has just written, mine.
func (a *Agent) openSession(ctx context.Context, mine store.Cond) error {
	s, err := a.Records.Store().Session(ctx, a.SessionTTL)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	now := a.Clock.Now()
	open := func(on ...store.Cond) error {
		t := a.Records.Begin().If(mine).If(on...).PutIn(s.ID(), record.NodeLiveKey(a.Name), Live{now}).Delete(record.NodeLostKey(a.Name))
		_, err := a.Records.Commit(ctx, t)
		return err
	}
	// While the session of an earlier process lives nobody takes anything over.
	was, err := a.Records.Store().Get(ctx, record.NodeLiveKey(a.Name))
	absent := missing(err)
	if err == nil {
		err = open(store.RevisionIs(was.Key, was.Revision))
		absent = errors.Is(err, store.ErrConflict)
	}
	if absent {
		err = open()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("session: %w", err), s.Close(ctx))
	}
	a.mu.Lock()
	a.session, a.held, a.renewed = s, now, now
	if absent {
		a.absences++
	}
	a.mu.Unlock()
	return nil
}

// reconcileSession renews the session, or opens another where it was lost. What may go on
// without one does not wait for it: a store that is away may take its time to be so.
func (a *Agent) reconcileSession(ctx context.Context) (time.Duration, error) {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	err := s.Renew(ctx)
	if errors.Is(err, store.ErrSessionExpired) {
		a.Logger.Warn("the node's session had expired; opening another", "node", a.Name)
		err = a.returnToCloud(ctx)
	}
	if err == nil && !a.Renewing() { // others may count on what was answered until now
		err = a.sayBack(ctx)
	}
	if err == nil {
		now := a.Clock.Now()
		a.mu.Lock()
		a.renewed = now
		a.mu.Unlock()
		a.vital.Add(keySeen) // a store that is slow to write must not keep the session waiting
	} else {
		a.Logger.Warn("the session is not renewed", "node", a.Name, "error", err)
	}
	a.vital.Add(keyKeep)
	if err != nil {
		return a.SessionTTL / 6, nil
	}
	return a.SessionTTL / 3, nil
}

// sayBack records that the node has the store again, after it may have said to
// others that it had not.
func (a *Agent) sayBack(ctx context.Context) error {
	a.mu.Lock()
	id := a.session.ID()
	a.mu.Unlock()
	now := a.Clock.Now()
	if _, err := a.Records.Commit(ctx, a.Records.Begin().PutIn(id, record.NodeLiveKey(a.Name), Live{now})); err != nil {
		return err
	}
	a.mu.Lock()
	a.held = now
	a.mu.Unlock()
	return nil
}

// returnToCloud opens a session after the node was without one. Meanwhile others
// may have taken over what ran here: what is stale is gone before the node counts
// as live again.
func (a *Agent) returnToCloud(ctx context.Context) error {
	if err := a.reap(ctx); err != nil {
		return fmt.Errorf("clear the host of what is not its own any more: %w", err)
	}
	if err := a.register(ctx); err != nil { // the record too: the node may have been removed
		return err
	}
	a.queue.Add(keyResync)
	a.vital.Add(keyRouters)
	a.vital.Add(keyFabric)
	return nil
}

// seenEvery is how often a node writes that it was there.
const seenEvery = time.Minute

// noteSeen writes it, for those who look when the node is gone. What is not written now is
// when the session is renewed the next time.
func (a *Agent) noteSeen(ctx context.Context) {
	now := a.Clock.Now()
	a.mu.Lock()
	due, seen := now.Sub(a.seen) >= seenEvery, claims.Seen{At: now, Nodes: a.view.nodesAt}
	a.mu.Unlock()
	if !due {
		return
	}
	t := a.Records.Begin().If(store.Exists(record.NodeKey(a.Name))) // it may have been removed meanwhile
	if _, err := a.Records.Commit(ctx, t.Put(record.NodeSeenKey(a.Name), seen)); err != nil {
		return
	}
	a.mu.Lock()
	a.seen = now
	a.mu.Unlock()
}

// owns reports whether this node may start machines: it surely holds its session,
// else somebody else may have taken over, and its guard stands ready.
func (a *Agent) owns() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Clock.Now()
	return surelyLeft(a.session.Deadline(), now) > 0 && (a.Guard == nil || surelyLeft(a.guarded, now) > 0)
}

// surelyLeft is how long there is until a moment that must not be missed, by whichever clock
// says less: that of the wall is set now and then, and the monotonic one stands still while
// the machine sleeps.
func surelyLeft(until, now time.Time) time.Duration {
	return min(until.Sub(now), until.Round(0).Sub(now.Round(0)))
}
