package node

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Peers asks other nodes, by another way than the store.
type Peers interface {
	// Renewing asks the agents of nodes, all at the same time, whether they reach the
	// store. Those that gave no answer are left out. It takes, however many do not, a time
	// that is short beside a session's: what may go on in an outage waits for it.
	Renewing(ctx context.Context, nodes []string) map[string]bool
}

// Renewing reports whether this node reaches the store, as far as it knows.
func (a *Agent) Renewing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Clock.Now().Sub(a.renewed) < a.SessionTTL/2
}

// Guard is a dead-man's switch for the machines of a host. It lives beside the
// agent and outlives it.
type Guard interface {
	// Keep lets the host's machines run for d from now on, whatever was said before;
	// unless it is told again until then, it destroys them. Their disks stay.
	Keep(ctx context.Context, d time.Duration) error
}

// reconcileKeep sees to what may go on without the store, and when to do so again: without
// it, well before the time is over that there was for it.
func (a *Agent) reconcileKeep(ctx context.Context) time.Duration {
	a.keep(ctx)
	if a.Renewing() {
		return a.SessionTTL / 6
	}
	return a.SessionTTL / 15
}

// keep keeps routers going for as long as nobody can have taken them over, and
// machines for as long as nobody can have started them elsewhere.
//
// Both are switched off from outside this process, by the kernel and by the guard,
// when it does not keep them. That is up to the moment until which the session
// surely lives, so a node that is cut off, stopped or killed stops before others
// may begin. An outage of the whole store is no reason to stop: then nobody can
// take over. A node without answers of its own asks the others. For its machines
// they must have said so for half a session's time, after which none of them can have
// had one all along (they say so half of its time after they renewed it): who recovers instances counts from when half of all nodes had theirs.
func (a *Agent) keep(ctx context.Context) {
	now := a.Clock.Now()
	a.mu.Lock()
	until := a.session.Deadline()
	a.mu.Unlock()
	surely := until // whatever others say
	if !a.Renewing() && a.outage(ctx) {
		if a.outageSince.IsZero() {
			a.outageSince = now
		}
		// Whoever has just said that the store is away backs an heir half a session's
		// time from then at the earliest. A tenth is left for clocks.
		if limit := now.Add(a.SessionTTL * 2 / 5); limit.After(until) {
			until = limit
		}
		if now.Sub(a.outageSince) >= a.SessionTTL/2 {
			surely = until
		}
	} else {
		a.outageSince = time.Time{}
	}
	now = a.Clock.Now() // asking took time
	a.keepRouters(ctx, surelyLeft(until, now))
	a.keepMachines(ctx, surelyLeft(surely, now))
}

func (a *Agent) keepRouters(ctx context.Context, left time.Duration) {
	a.mu.Lock()
	settled := a.settled == a.absences
	a.mu.Unlock()
	if left <= 0 || !settled {
		return
	}
	if k, ok := netfab.As[netfab.Keeper](a.Fabric); ok && a.mesh() {
		if err := k.Keep(ctx, left); err != nil {
			a.Logger.Error("the routers of this node cannot be kept, and stop", "node", a.Name, "left", left, "error", err)
		}
	}
}

func (a *Agent) keepMachines(ctx context.Context, left time.Duration) {
	if left <= 0 || a.Guard == nil {
		return
	}
	now := a.Clock.Now()
	if err := a.Guard.Keep(ctx, left+a.SelfFence); err != nil {
		a.Logger.Error("the guard of this node's machines cannot be told that they may run", "node", a.Name, "left", left+a.SelfFence, "error", err)
		return
	}
	a.mu.Lock()
	if !a.guarded.IsZero() && now.After(a.guarded) {
		a.lapse = [2]time.Time{a.guarded, now}
	}
	a.guarded = now.Add(left + a.SelfFence)
	a.mu.Unlock()
}

// fenced reports whether it was the guard that ended a machine at a time, as far as
// anybody can tell; a.mu is held. A process that was stopped itself notices late.
func (a *Agent) fenced(ended time.Time) bool {
	if now := a.Clock.Now(); !a.guarded.IsZero() && now.After(a.guarded) && !ended.Before(a.guarded) {
		return true
	}
	return !a.lapse[0].IsZero() && !ended.Before(a.lapse[0]) && !ended.After(a.lapse[1].Add(a.SessionTTL))
}

// mesh reports whether this node may be one of several, so that what it does not
// keep another may take over.
func (a *Agent) mesh() bool { return a.Address.IsValid() }

// outage reports whether the store is away for everybody: more than half of all
// nodes, this one counted, say that they do not reach it, and none that it does.
// (One that gives no answer may be on the other side of a cut, with the store, also
// one that was not there when the store was last seen.)
func (a *Agent) outage(ctx context.Context) bool {
	a.mu.Lock()
	others := sorted(slices.Collect(maps.Keys(a.view.nodes)))
	a.mu.Unlock()
	others = slices.DeleteFunc(others, func(name string) bool { return name == a.Name })
	if a.Peers == nil {
		return len(others) == 0
	}
	without := 1
	for _, renewing := range a.Peers.Renewing(ctx, others) {
		if renewing {
			return false
		}
		without++
	}
	return 2*without > len(others)+1
}
