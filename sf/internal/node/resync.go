package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// resync makes up for events that were lost: it looks at everything on the work
// list again, and removes what is on the host and in no record.
func (a *Agent) resync(ctx context.Context) (time.Duration, error) {
	prefix := record.WorkPrefix(a.Name)
	work, err := a.Records.Store().List(ctx, prefix, store.Page{})
	if err != nil {
		return 0, err
	}
	for _, r := range work.Records {
		a.due(strings.TrimPrefix(r.Key, prefix))
	}
	orphans, err := a.orphans(ctx)
	for _, id := range orphans {
		a.queue.Add(keyInstance + id) // under its key: it may be on its way back here
	}
	return resyncEvery, errors.Join(err, a.reapSnapshots(ctx))
}

// orphans are what this host has machines or volumes of and no instance of this node
// claims. A record is written before the first thing is done on a host and outlives
// the last, so whatever has none is an orphan.
func (a *Agent) orphans(ctx context.Context) (ids []string, err error) {
	machines, err := a.Hypervisor.List(ctx)
	if err != nil {
		return nil, err
	}
	all, err := a.Volumes.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		if !slices.Contains(all, m.ID) {
			all = append(all, m.ID)
		}
	}
	for _, id := range all {
		ours, missed := a.claims(ctx, id)
		if missed == nil && !ours {
			ids = append(ids, id)
		}
		err = errors.Join(err, missed)
	}
	return ids, err
}

// reap clears the host of orphans, before the node counts as live.
func (a *Agent) reap(ctx context.Context) error {
	orphans, err := a.orphans(ctx)
	for _, id := range orphans {
		a.Logger.Warn("removing what belongs to no instance of this node", "node", a.Name, "instance", id)
		err = errors.Join(err, a.clear(ctx, id))
	}
	return errors.Join(err, a.reapSnapshots(ctx))
}

// reapSnapshots removes copies that no record speaks of, or that failed.
func (a *Agent) reapSnapshots(ctx context.Context) error {
	keep, ok := a.Volumes.(driver.Snapshots)
	if !ok {
		return nil
	}
	ids, err := keep.ListSnapshots(ctx)
	for _, id := range ids {
		s, gone := record.Get[spec.SnapshotStatus](ctx, a.Records, record.SnapshotStatusKey(id))
		if !missing(gone) && (gone != nil || s.Value.State != spec.StateError) {
			err = errors.Join(err, gone)
			continue
		}
		a.Logger.Warn("removing a snapshot that has no record, or failed", "node", a.Name, "snapshot", id)
		err = errors.Join(err, keep.RemoveSnapshot(ctx, id))
	}
	return err
}

// claims reports whether an instance that is not gone is placed on this node.
func (a *Agent) claims(ctx context.Context, id string) (bool, error) {
	o, err := record.Get[spec.Instance](ctx, a.Records, record.InstanceKey(id))
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return o.Value.Node == a.Name && !o.Value.Deletion.Gone(), nil
}

// janitor forgets what has been deleted, or has rested, for long enough.
func (a *Agent) janitor(ctx context.Context) (time.Duration, error) {
	const batch = 1000
	l, err := a.Records.Store().List(ctx, record.ExpiryPrefix, store.Page{Limit: batch})
	if err != nil {
		return 0, err
	}
	for _, r := range l.Records {
		at, what, ok := record.ParseExpiryKey(r.Key)
		if left := at.Sub(a.Clock.Now()); ok && left > 0 {
			return min(left, janitorEvery), nil
		}
		if ok {
			if err := a.expire(ctx, what); err != nil {
				return 0, err
			}
		}
		if _, err := a.Records.Commit(ctx, a.Records.Begin().Delete(r.Key)); err != nil {
			return 0, err
		}
	}
	if l.More {
		return 0, nil
	}
	return janitorEvery, nil
}

func (a *Agent) expire(ctx context.Context, what []string) error {
	switch {
	case what[0] == "instance" && len(what) == 2:
		return claims.Forget(ctx, a.Records, spec.KindInstance, what[1])
	case what[0] == "network" && len(what) == 2:
		return claims.Forget(ctx, a.Records, spec.KindNetwork, what[1])
	case what[0] == "address" && len(what) == 3:
		return claims.ForgetAddress(ctx, a.Records, what[1], what[2], a.Clock.Now())
	case what[0] == "once" && len(what) == 4:
		return claims.ForgetOnce(ctx, a.Records, record.IdempotencyKey(what[1], spec.Kind(what[2]), what[3]), a.Clock.Now())
	}
	a.Logger.Error("unknown entry in the expiry list", "what", strings.Join(what, "/"))
	return nil
}
