package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// OutsideVNI is that of the segment that the routers of all hosts share in mode
// routed. No network gets it.
const OutsideVNI = 1<<24 - 1

// Outside says how a host's routers meet the world.
type Outside struct {
	// Mode is how. The zero Mode is for a cloud of one host: on several, a floating
	// address is reached only by way of the host that routes its network.
	Mode netfab.Mode
	// Segment and Gateway are those of the uplink in mode L2; not valid means the
	// floating block, and its first address.
	Segment netip.Prefix
	Gateway netip.Addr
	// EdgeAddress is, in mode Routed, what the world routes the floating block to. The
	// edge has it at its uplink, whichever node that is.
	EdgeAddress netip.Prefix
}

// wantOutside is the outside as this host is to have it; a.mu is held.
func (a *Agent) wantOutside() netfab.Outside {
	o := netfab.Outside{Prefix: a.view.outside, Uplink: a.Uplink, Fenced: a.mesh(), Mode: a.Outside.Mode}
	switch o.Mode {
	case netfab.L2:
		o.Segment, o.Via = a.Outside.Segment, a.Outside.Gateway
	case netfab.Routed:
		o.VNI, o.EdgeAddr, o.Edge = OutsideVNI, a.Outside.EdgeAddress, a.view.edge.Node == a.Name
		o.Peers = a.vteps()
	case netfab.Local:
		if a.mesh() {
			o.Peers = a.vteps()
		}
	}
	return o
}

// vteps are the other nodes' on the underlay; a.mu is held. A host that has another name
// now may be among the nodes by both.
func (a *Agent) vteps() (others []netip.Addr) {
	for name, vtep := range a.view.nodes {
		if name != a.Name && vtep.Is4() && vtep != a.Address {
			others = append(others, vtep)
		}
	}
	slices.SortFunc(others, netip.Addr.Compare)
	return others
}

// edgeMirror follows which node is the edge.
func (a *Agent) edgeMirror() mirror {
	note := func(value []byte, at store.Revision) {
		if at != 0 && at < a.view.edgeAt {
			return // it was read since, see rereadRouters
		}
		a.view.edge, a.view.edgeAt, a.view.edgeKnown = spec.Router{}, at, true
		if value != nil {
			if err := json.Unmarshal(value, &a.view.edge); err != nil {
				a.Logger.Error("the edge's record is not readable", "error", err)
			}
		}
		a.vital.Add(keyFabric)
		a.vital.Add(keyRouters)
	}
	key := record.RouterKey(spec.FloatingNetwork)
	return mirror{
		prefix: key,
		reset: func(all []store.Record) {
			a.mu.Lock()
			defer a.mu.Unlock()
			note(nil, 0)
			for _, r := range all {
				note(r.Value, r.Revision)
			}
		},
		change: func(e store.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			note(e.Value, e.Revision)
		},
	}
}

// edgeTurn says in how long it is this node's turn to become the edge; ok is false
// where it is not to; a.mu is held.
func (a *Agent) edgeTurn() (in time.Duration, ok bool) {
	was := a.view.edge.Node
	if a.Outside.Mode != netfab.Routed || !a.view.edgeKnown || was == a.Name || a.view.live[was] {
		return 0, false
	}
	if was == "" {
		return 0, true // the cloud's first
	}
	return a.turnAfter(spec.FloatingNetwork, was, maps.Clone(a.view.live))
}

// takeEdge makes this node the edge, unless the one that is it has come back or
// another node was quicker.
func (a *Agent) takeEdge(ctx context.Context) error {
	if !a.owns() {
		return errUnsure
	}
	key := record.RouterKey(spec.FloatingNetwork)
	t := a.Records.Begin()
	me := spec.Router{Node: a.Name, Since: a.Clock.Now()}
	r, err := record.Get[spec.Router](ctx, a.Records, key)
	switch {
	case missing(err):
		t.Create(key, me)
	case err != nil:
		return err
	case r.Value.Node == a.Name:
		return nil
	case !a.hasHeld():
		return errUnsure
	default:
		record.Replace(t, r, me).If(store.Absent(record.NodeLiveKey(r.Value.Node)))
	}
	t.If(store.Exists(record.NodeLiveKey(a.Name)))
	moved := cmp.Or(r.Value.Node, "nobody") + " -> " + a.Name
	if err := a.Records.Event(ctx, t, a.event(spec.KindNetwork, spec.FloatingNetwork, "edge moved", moved, "")); err != nil {
		return err
	}
	if _, err = a.Records.Commit(ctx, t); errors.Is(err, store.ErrConflict) {
		return nil // what it was depends on what we watch
	}
	if err == nil {
		a.wakeWaiters(ctx, spec.FloatingNetwork)
	}
	return err
}
