package node

import (
	"context"
	"maps"
	"slices"
)

// Peers asks other nodes, by another way than the store.
type Peers interface {
	// Renewing asks the agent of a node whether it reaches the store. An error means
	// that the agent gave no answer, in a time that is short beside a session's.
	Renewing(ctx context.Context, node string) (bool, error)
}

// Renewing reports whether this node reaches the store, as far as it knows.
func (a *Agent) Renewing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Clock.Now().Sub(a.renewed) < a.SessionTTL/2
}

// guard keeps routers going for as long as nobody can have taken them over, and
// stops machines once somebody may start them elsewhere.
//
// The kernel stops a router that is not kept going. That is kept up to the moment
// until which the session surely lives, so a node that is cut off stops routing
// before others may begin. An outage of the whole store is no reason to stop: then
// nobody can take over. A node without answers of its own asks the others.
func (a *Agent) guard(ctx context.Context) {
	now := a.Clock.Now()
	a.mu.Lock()
	until := a.session.Deadline()
	a.mu.Unlock()
	if !a.Renewing() && a.outage(ctx) {
		if limit := now.Add(a.SessionTTL / 3); limit.After(until) {
			until = limit
		}
	} else if a.SelfFence > 0 && now.After(until.Add(a.SelfFence)) {
		a.fenceMachines(ctx)
	}
	_ = until
}

// outage reports whether the store is away for everybody: most nodes, this one
// counted, say that they do not reach it, and none that it does. (Of the nodes that
// lived when the store was last seen. One that gives no answer may be on the
// other side of a cut, with the store.)
func (a *Agent) outage(ctx context.Context) bool {
	a.mu.Lock()
	others := sorted(slices.Collect(maps.Keys(a.view.live)))
	a.mu.Unlock()
	others = slices.DeleteFunc(others, func(name string) bool { return name == a.Name })
	if a.Peers == nil {
		return len(others) == 0
	}
	without := 1
	for _, name := range others {
		switch renewing, err := a.Peers.Renewing(ctx, name); {
		case err != nil:
		case renewing:
			return false
		default:
			without++
		}
	}
	return without > (len(others)+1)/2
}

// fenceMachines stops what runs here: the cloud was told that it may count on it.
// A machine that is destroyed, unlike one that is stopped, is made and started
// again where it is still to run here when the node returns; its disks stay.
func (a *Agent) fenceMachines(ctx context.Context) {
	machines, err := a.Hypervisor.List(ctx)
	if err != nil {
		a.Logger.Error("self-fence: machines cannot be listed", "node", a.Name, "error", err)
	}
	for _, m := range machines {
		if !m.State.On() {
			continue
		}
		a.Logger.Error("self-fence: stopping a machine, since this node has been without its session", "node", a.Name, "machine", m.ID)
		if err := a.Hypervisor.Destroy(ctx, m.ID); err != nil {
			a.Logger.Error("self-fence: a machine does not stop", "node", a.Name, "machine", m.ID, "error", err)
		}
	}
}
