package node

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// view is what the agent knows of the records that its fabric is made from. It is
// kept by watches, so that the fabric stands while the store is away.
type view struct {
	outside   netip.Prefix            // the floating block; not valid until read
	nodes     map[string]netip.Addr   // addresses on the underlay, by name
	nodesAt   store.Revision          // of the last node's record that was followed
	live      map[string]bool         // nodes
	gone      map[string]time.Time    // since when others are not
	since     map[string]sighting     // when those that live got their sessions, or the store back
	edge      spec.Router             // which node is the edge, in mode routed
	edgeAt    store.Revision          // of edge
	edgeKnown bool                    // it has been read
	work      map[string]bool         // networks on the work list
	networks  map[string]*networkView // those of work that are followed
}

// networkView is one network as its members see it.
type networkView struct {
	spec.Network // as created; nothing of it changes but what follows
	router       spec.Router
	routerAt     store.Revision // of router
	ends         bool           // to be deleted
	nics         map[string]spec.Interface
	stop         context.CancelFunc
}

func (v *view) init() {
	v.nodes, v.live, v.gone = map[string]netip.Addr{}, map[string]bool{}, map[string]time.Time{}
	v.since = map[string]sighting{}
	v.work, v.networks = map[string]bool{}, map[string]*networkView{}
}

// nodesMirror follows the addresses of all nodes. All of them are told anew at once: whoever
// looked in between would take the rest for gone, and guests there too.
func (a *Agent) nodesMirror() mirror {
	return mirror{
		prefix: record.NodePrefix,
		reset: func(all []store.Record) {
			nodes, at := map[string]netip.Addr{}, store.Revision(0)
			for _, r := range all {
				if name, addr, ok := a.readNode(r); ok {
					nodes[name], at = addr, max(at, r.Revision)
				}
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.view.nodes, a.view.nodesAt = nodes, at
			a.vital.Add(keyFabric)
		},
		change: func(e store.Event) {
			if e.Deleted {
				a.mu.Lock()
				defer a.mu.Unlock()
				delete(a.view.nodes, record.Base(e.Key))
				delete(a.view.gone, record.Base(e.Key))
				a.vital.Add(keyRouters)
				a.vital.Add(keyFabric)
				return
			}
			name, addr, ok := a.readNode(e.Record)
			if !ok {
				return
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.view.nodesAt = max(a.view.nodesAt, e.Revision)
			if was, known := a.view.nodes[name]; !known || was != addr {
				a.view.nodes[name] = addr
				a.vital.Add(keyFabric)
			}
		},
	}
}

// readNode reads a node's name and its address on the underlay; one without an address
// has no part in the mesh.
func (a *Agent) readNode(r store.Record) (name string, addr netip.Addr, ok bool) {
	var n spec.Node
	if err := json.Unmarshal(r.Value, &n); err != nil {
		a.Logger.Error("a node's record is not readable", "key", r.Key, "error", err)
		return "", addr, false
	}
	addr, _ = netip.ParseAddr(n.Address)
	return n.Name, addr, true
}

// liveMirror follows which nodes live.
func (a *Agent) liveMirror() mirror {
	note := func(name string, live bool) {
		a.noteGone(name, live)
		if live {
			a.view.live[name] = true
			if name == a.Name {
				a.vital.Add(keyRouters) // this node may be an heir again
			}
			return
		}
		delete(a.view.live, name)
		delete(a.view.since, name)
		a.queue.Add(keyLost + name)
		for _, other := range a.orphaned(name) {
			a.queue.Add(keyLost + other)
		}
		a.vital.Add(keyRouters)
	}
	return mirror{
		prefix: record.NodeLivePrefix,
		reset: func(all []store.Record) {
			a.mu.Lock()
			defer a.mu.Unlock()
			clear(a.view.live)
			for _, r := range all {
				note(record.Base(r.Key), true)
				a.noteSince(r)
			}
			for _, name := range sorted(slices.Collect(maps.Keys(a.view.nodes))) {
				if !a.view.live[name] {
					note(name, false)
				}
			}
		},
		change: func(e store.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			note(record.Base(e.Key), !e.Deleted)
			if !e.Deleted {
				a.noteSince(e.Record)
			}
		},
	}
}

// sighting is when a record was first seen as it is. Of time only this host's own clock is
// to be trusted.
type sighting struct {
	revision store.Revision
	at       time.Time
}

// noteSince notes since when a node has had what it has; a.mu is held.
func (a *Agent) noteSince(r store.Record) {
	if name := record.Base(r.Key); a.view.since[name].revision != r.Revision {
		a.view.since[name] = sighting{r.Revision, a.Clock.Now()}
	}
}

// networkOf returns the network that an entry of the work list is about.
func (a *Agent) networkOf(key string) (id string, ok bool) {
	return strings.CutPrefix(key, record.WorkKey(a.Name, spec.KindNetwork, ""))
}

// resetNetworks notes which networks are on the work list.
func (a *Agent) resetNetworks(all []store.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.view.work)
	for _, r := range all {
		if id, ok := a.networkOf(r.Key); ok {
			a.view.work[id] = true
		}
	}
}

// noteNetwork notes a change of the work list.
func (a *Agent) noteNetwork(e store.Event) {
	id, ok := a.networkOf(e.Key)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Deleted {
		delete(a.view.work, id)
	} else {
		a.view.work[id] = true
	}
}

// refresh follows the networks of the work list, and no others.
func (a *Agent) refresh(ctx context.Context) error {
	if err := a.readOutside(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	var missing []string
	for id := range a.view.work {
		if a.view.networks[id] == nil {
			missing = append(missing, id)
		}
	}
	for id, n := range a.view.networks {
		if !a.view.work[id] {
			n.stop()
			delete(a.view.networks, id)
		}
	}
	a.mu.Unlock()
	for _, id := range sorted(missing) {
		if err := a.followNetwork(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// readOutside reads the floating block, which hardly ever changes: the last that
// was read serves while the store is away.
func (a *Agent) readOutside(ctx context.Context) error {
	n, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey(spec.FloatingNetwork))
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && !a.view.outside.IsValid() {
		return err
	}
	if err == nil {
		a.view.outside = n.Value.Prefix()
	}
	return nil
}

// followNetwork reads a network and watches what its members share.
func (a *Agent) followNetwork(ctx context.Context, id string) error {
	o, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	n := &networkView{Network: o.Value, nics: map[string]spec.Interface{}}
	if err != nil || n.Deletion.Gone() {
		n.UUID, n.ends, n.stop = id, true, func() {} // nothing to follow: it is to leave this host
		a.mu.Lock()
		a.view.networks[id] = n
		a.mu.Unlock()
		return nil
	}
	wake := func() {
		a.vital.Add(keyFabric)
		if !a.view.live[n.router.Node] {
			a.vital.Add(keyRouters) // this node may be an heir now
		}
	}
	m := mirror{
		prefix: record.MeshPrefix(id),
		reset: func(all []store.Record) {
			a.mu.Lock()
			defer a.mu.Unlock()
			clear(n.nics)
			n.router, n.routerAt, n.ends = spec.Router{}, 0, false
			for _, r := range all {
				a.noteMesh(n, store.Event{Record: r})
			}
			wake()
		},
		change: func(e store.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.noteMesh(n, e)
			wake()
		},
	}
	w, err := a.open(ctx, m)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	n.stop = stop
	a.mu.Lock()
	a.view.networks[id] = n
	wake() // again: who was quick has not seen it
	a.mu.Unlock()
	a.spawn("mesh/"+id, func() { a.keepUp(following, m, w) })
	return nil
}

// noteMesh notes one change of a network; a.mu is held.
func (a *Agent) noteMesh(n *networkView, e store.Event) {
	var into any
	var nic spec.Interface
	switch e.Key {
	case record.RouterKey(n.UUID):
		if e.Revision < n.routerAt {
			return // it was read since, see rereadRouters
		}
		n.router, n.routerAt = spec.Router{}, e.Revision
		into = &n.router
	case record.EndKey(n.UUID):
		n.ends = !e.Deleted
		return
	default:
		delete(n.nics, record.Base(e.Key))
		into = &nic
	}
	if e.Deleted {
		return
	}
	if err := json.Unmarshal(e.Value, into); err != nil {
		a.Logger.Error("a record is not readable", "key", e.Key, "error", err)
		return
	}
	if nic.UUID != "" {
		n.nics[nic.UUID] = nic
	}
}
