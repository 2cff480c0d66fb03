package node

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// stepAside is how much longer each node waits than the one that comes before it
// in the order of succession.
const stepAside = time.Second

// Succession orders nodes by who takes over what: by the hash of both, so that the
// heirs of one node are spread over all others, and all nodes agree without a word.
func Succession(what string, nodes []string) []string {
	slices.SortFunc(nodes, func(a, b string) int { return succeeds(what, a, b) })
	return nodes
}

// succeeds orders two nodes.
func succeeds(what, a, b string) int {
	hash := func(node string) uint64 {
		h := fnv.New64a()
		h.Write([]byte(what + "/" + node))
		return h.Sum64()
	}
	return cmp.Or(cmp.Compare(hash(a), hash(b)), cmp.Compare(a, b))
}

// noteGone notes since when nodes are gone; a.mu is held.
func (a *Agent) noteGone(name string, live bool) {
	switch _, known := a.view.gone[name]; {
	case live:
		delete(a.view.gone, name)
	case !known:
		a.view.gone[name] = a.Clock.Now()
	}
}

// turn says in how long it is this node's turn to take over a network's router;
// ok is false where it is not to; a.mu is held.
//
// Heirs are the nodes that have guests on the network: they know it already, and
// with none nobody needs the router. A node that got its session only just now
// waits: until it had one, others may have gone on without (see outage).
func (a *Agent) turn(n *networkView) (in time.Duration, ok bool) {
	if n.ends || n.router.Node == "" || n.router.Node == a.Name || a.view.live[n.router.Node] {
		return 0, false
	}
	heirs := map[string]bool{}
	for _, nic := range n.nics {
		if a.view.live[nic.Node] {
			heirs[nic.Node] = true
		}
	}
	return a.turnAfter(n.UUID, n.router.Node, heirs)
}

// turnAfter says in how long it is this node's turn to take over something from
// another that is gone; a.mu is held.
func (a *Agent) turnAfter(what, was string, heirs map[string]bool) (in time.Duration, ok bool) {
	if !heirs[a.Name] {
		return 0, false
	}
	a.noteGone(was, false)
	rank := slices.Index(Succession(what, slices.Collect(maps.Keys(heirs))), a.Name)
	from := a.view.gone[was].Add(time.Duration(rank) * stepAside)
	if held := a.held.Add(a.SessionTTL / 2); held.After(from) {
		from = held
	}
	return from.Sub(a.Clock.Now()), true
}

// reconcileRouters takes over what nodes that are gone have routed.
func (a *Agent) reconcileRouters(ctx context.Context) (time.Duration, error) {
	type heirloom struct {
		uuid   string
		router spec.Router
	}
	var now []heirloom
	next := time.Duration(never)
	a.mu.Lock()
	for _, id := range sorted(slices.Collect(maps.Keys(a.view.networks))) {
		n := a.view.networks[id]
		switch in, ok := a.turn(n); {
		case !ok:
		case in <= 0:
			now = append(now, heirloom{n.UUID, n.router})
		case next < 0 || in < next:
			next = in
		}
	}
	edge, mayEdge := a.edgeTurn()
	was := a.view.edge.Node
	a.mu.Unlock()
	backed := map[string]bool{} // by whom something is taken over from
	if mayEdge && edge <= 0 {
		var err error
		if backed[was], err = a.backed(ctx, was); err != nil {
			return 0, err
		}
		if !backed[was] {
			edge = stepAside
		} else if err := a.takeEdge(ctx); errors.Is(err, errUnsure) {
			edge = stepAside
		} else if err != nil {
			return 0, err
		} else {
			mayEdge = false
		}
	}
	if mayEdge && (next < 0 || edge < next) {
		next = edge
	}
	for _, n := range now {
		was := n.router.Node
		if _, asked := backed[was]; !asked {
			var err error
			if backed[was], err = a.backed(ctx, was); err != nil {
				return 0, err
			}
		}
		if !backed[was] {
			next = stepAside
		} else if err := a.takeRouter(ctx, n.uuid); errors.Is(err, errUnsure) {
			next = stepAside
		} else if err != nil {
			return 0, err
		}
	}
	return next, nil
}

// errUnsure is that this node does not surely hold its session. It may a moment later,
// without an event that would say so.
var errUnsure = errors.New("this node does not surely hold its session")

// backed reports whether at least half of all nodes that a lost one knows of have had the
// store for a while and say so: then that and others like it cannot have taken its absence for an
// outage (which takes more than half), and what was theirs has stopped.
func (a *Agent) backed(ctx context.Context, lost string) (bool, error) {
	if a.Peers == nil {
		return true, nil // as for them, a node that is without the store stops
	}
	known, err := claims.KnownTo(ctx, a.Records, lost)
	if err != nil {
		return false, err
	}
	a.mu.Lock()
	var long []string
	for name, since := range a.view.since {
		if a.Clock.Now().Sub(since.at) >= a.SessionTTL/2 && name != a.Name && known[name] {
			long = append(long, name)
		}
	}
	a.mu.Unlock()
	all, with := len(known), 0
	if known[a.Name] {
		with = 1
	}
	slices.Sort(long)
	for 2*with < all && len(long) > 0 {
		few := min((all+1)/2-with, len(long))
		for _, renewing := range a.Peers.Renewing(ctx, long[:few]) {
			if renewing {
				with++
			}
		}
		long = long[few:]
	}
	return all > 0 && 2*with >= all, nil
}

// takeRouter makes this node the router of a network, unless the one that is it
// has come back or another node was quicker.
func (a *Agent) takeRouter(ctx context.Context, network string) error {
	if !a.owns() || !a.hasHeld() {
		return errUnsure
	}
	r, err := record.Get[spec.Router](ctx, a.Records, record.RouterKey(network))
	if err != nil {
		return ignoreMissing(err)
	}
	was := r.Value.Node
	if was == a.Name {
		return nil
	}
	t := a.Records.Begin().If(
		store.Absent(record.NodeLiveKey(was)), store.Exists(record.NodeLiveKey(a.Name)), store.Absent(record.EndKey(network)))
	record.Replace(t, r, spec.Router{Node: a.Name, Since: a.Clock.Now()})
	t.Put(record.MemberKey(network, a.Name), claims.Empty{})
	t.Put(record.WorkKey(a.Name, spec.KindNetwork, network), claims.Empty{})
	if err := a.Records.Event(ctx, t, a.event(spec.KindNetwork, network, "router moved", was+" -> "+a.Name, "node "+was+" is gone")); err != nil {
		return err
	}
	_, err = a.Records.Commit(ctx, t)
	if errors.Is(err, store.ErrConflict) {
		return nil // what it was depends on what we watch
	}
	if err == nil {
		a.wakeWaiters(ctx, network)
	}
	return err
}

// wakeWaiters has who waits for a network look at it again: they watch its status. It is no
// part of what is to be told, which must not depend on who else writes a status. Who is
// not woken looks by themselves, in a while.
func (a *Agent) wakeWaiters(ctx context.Context, network string) {
	asItIs := func(*spec.NetworkStatus, *record.Txn) error { return nil }
	if _, err := record.Update(ctx, a.Records, record.NetworkStatusKey(network), asItIs); ignoreMissing(err) != nil {
		a.Logger.Info("who waits for a network is not woken", "node", a.Name, "network", network, "error", err)
	}
}

// hasHeld reports whether this node has had the store for so long that none goes on
// because of what this one said before. It is asked when all else is decided: whoever has
// just got the store back may have heard what there is to take over before it noted that.
func (a *Agent) hasHeld() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Clock.Now()
	return now.Sub(a.renewed) < a.SessionTTL/2 && !now.Before(a.held.Add(a.SessionTTL/2))
}

// reporters is how many nodes record that another is gone: one does, the others
// are there for when it does not.
const reporters = 3

// orphaned are the nodes that are gone and of which a node that is gone now too was to
// say so: with several going at once, all that were to may be among them; a.mu is held.
func (a *Agent) orphaned(reporter string) (gone []string) {
	for _, name := range sorted(slices.Collect(maps.Keys(a.view.gone))) {
		before := 0
		for other := range a.view.live {
			if succeeds(name, other, reporter) < 0 {
				before++
			}
			if before == reporters {
				break // whatever the order in which they are looked at
			}
		}
		if name != reporter && before < reporters {
			gone = append(gone, name)
		}
	}
	return gone
}

// reportLost records since when a node has surely been without its session. Who
// starts its instances elsewhere counts from then.
func (a *Agent) reportLost(ctx context.Context, name string) (time.Duration, error) {
	a.mu.Lock()
	since, gone := a.view.gone[name]
	_, known := a.view.nodes[name]
	order := Succession(name, slices.Collect(maps.Keys(a.view.live)))
	a.mu.Unlock()
	rank := slices.Index(order, a.Name)
	if !gone || !known || rank < 0 || rank >= reporters {
		return never, nil
	}
	if in := since.Add(time.Duration(rank) * stepAside).Sub(a.Clock.Now()); in > 0 {
		return in, nil
	}
	return never, claims.Lose(ctx, a.Records, name, a.Clock.Now())
}
