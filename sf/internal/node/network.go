package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// reconcileNetwork reports on a network, or leaves it.
func (a *Agent) reconcileNetwork(ctx context.Context, id string) (time.Duration, error) {
	a.mu.Lock()
	n := a.view.networks[id]
	have, left, failed := a.fabric.networks[id], a.fabric.left[id], a.fabric.failed[id]
	routes := n != nil && n.router.Node == a.Name
	a.mu.Unlock()
	switch {
	case n == nil:
		a.vital.Add(keyFabric) // which follows it, or stops following it
		return never, nil
	case left && failed == nil:
		return never, a.leaveNetwork(ctx, id)
	case !have && failed == nil:
		a.vital.Add(keyFabric)
		return showAfter, nil
	case !routes:
		return never, nil
	}
	return never, a.reportNetwork(ctx, id, failed)
}

// leaveNetwork confirms that nothing of a network is left here, unless the node
// was given a part in it anew, and ends its deletion where no other node has a
// part in it either.
func (a *Agent) leaveNetwork(ctx context.Context, id string) error {
	work, err := record.Get[claims.Empty](ctx, a.Records, record.WorkKey(a.Name, spec.KindNetwork, id))
	if err != nil {
		return ignoreMissing(err)
	}
	// Whoever gives this node a part writes the work entry. What was given before
	// that was read shows here; what is given later fails the commit.
	has, ends, err := a.hasPartNow(ctx, id)
	if err != nil || has {
		a.vital.Add(keyFabric)
		return err
	}
	t := a.Records.Begin().If(store.RevisionIs(work.Key, work.Revision)).Delete(record.MemberKey(id, a.Name))
	if !ends {
		// Of a network that ends from now on the last to leave has more to do, and that
		// may be this node.
		t.Delete(work.Key).If(store.Absent(record.EndKey(id)))
	}
	_, err = a.Records.Commit(ctx, t)
	if errors.Is(err, store.ErrConflict) {
		a.vital.Add(keyFabric)
		return nil
	}
	if err != nil || !ends {
		return err
	}
	err = claims.FinalizeNetwork(ctx, a.Records, id, a.Clock.Now(), a.Keep)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	_, err = a.Records.Commit(ctx, a.Records.Begin().Delete(work.Key))
	a.queue.Add(keyJanitor)
	return err
}

// hasPartNow asks the store whether this node has a part in a network, and whether that
// ends: what the node has followed of it may be older.
func (a *Agent) hasPartNow(ctx context.Context, id string) (has, ends bool, err error) {
	l, err := a.Records.Store().List(ctx, record.MeshPrefix(id), store.Page{})
	if err != nil {
		return false, false, err
	}
	n := &networkView{Network: spec.Network{UUID: id}, nics: map[string]spec.Interface{}}
	for _, r := range l.Records {
		a.noteMesh(n, store.Event{Record: r})
	}
	return !n.ends && a.hasPart(n), n.ends, nil
}

func (a *Agent) reportNetwork(ctx context.Context, id string, failed error) error {
	now := a.Clock.Now()
	_, err := record.Update(ctx, a.Records, record.NetworkStatusKey(id), func(s *spec.NetworkStatus, t *record.Txn) error {
		was := s.State
		if failed != nil {
			if s.Wait != nil && s.Wait.Reason == failed.Error() {
				return record.ErrUnchanged
			}
			s.Wait = &spec.Wait{Reason: failed.Error(), Since: now, Next: now.Add(reconcile.Backoff(1))}
			return nil
		}
		if was == spec.StateCreated && s.Wait == nil {
			return record.ErrUnchanged
		}
		s.State, s.Wait, s.Error = spec.StateCreated, nil, ""
		if was == s.State {
			return nil
		}
		s.Since = now
		return a.Records.Event(ctx, t, a.event(spec.KindNetwork, id, "state changed", fmt.Sprintf("%s -> %s", was, s.State), ""))
	})
	return err
}
