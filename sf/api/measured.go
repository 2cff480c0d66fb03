package api

import (
	"maps"
	"slices"
	"strconv"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// gauge writes a family of one value.
func (x *exposition) gauge(name, help string, value float64) {
	x.family(name, "gauge", help)
	x.sample(name, "", value)
}

// counter writes a family of one value that only grows.
func (x *exposition) counter(name, help string, value int64) {
	x.family(name, "counter", help)
	x.sample(name, "", float64(value))
}

// times writes a histogram; pairs are labels and their values in turn.
func (x *exposition) times(name string, t sf.Times, pairs ...string) {
	for i, most := range t.Bounds {
		x.sample(name+"_bucket", labelled(append(slices.Clone(pairs), "le", strconv.FormatFloat(most, 'g', -1, 64))...), float64(t.Within[i]))
	}
	x.sample(name+"_bucket", labelled(append(slices.Clone(pairs), "le", "+Inf")...), float64(t.Count))
	labels := ""
	if len(pairs) > 0 {
		labels = labelled(pairs...)
	}
	x.sample(name+"_sum", labels, t.Seconds)
	x.sample(name+"_count", labels, float64(t.Count))
}

// store writes what this process asked of the store.
func (x *exposition) store(s sf.StoreStats) {
	x.counter("sf_store_gets_total", "records asked for by key", s.Gets)
	x.counter("sf_store_lists_total", "lists asked for", s.Lists)
	x.counter("sf_store_conflicts_total", "commits that others were faster than; they are tried again", s.Conflicts)
	x.counter("sf_store_unknown_total", "commits whose reply was lost", s.Unknown)
	x.counter("sf_store_failures_total", "calls that failed otherwise", s.Failed)
	x.family("sf_store_commit_seconds", "histogram", "time that commits took, refused ones included")
	x.times("sf_store_commit_seconds", s.Took)
	x.gauge("sf_store_watches", "watches that are open", float64(s.Watches))
	x.counter("sf_store_watch_batches_total", "revisions that watches delivered", s.Batches)
	x.counter("sf_store_watch_events_total", "changes in them", s.Events)
	x.counter("sf_store_watch_gaps_total", "watches that fell behind the store's history", s.Gaps)
}

// node writes what this process's node does.
func (x *exposition) node(n *sf.NodeStats) {
	x.family("sf_queue_keys", "gauge", "what a queue has: due, later, or being worked on")
	for _, name := range slices.Sorted(maps.Keys(n.Queues)) {
		d := n.Queues[name]
		x.sample("sf_queue_keys", labelled("queue", name, "state", "due"), float64(d.Due))
		x.sample("sf_queue_keys", labelled("queue", name, "state", "later"), float64(d.Later))
		x.sample("sf_queue_keys", labelled("queue", name, "state", "running"), float64(d.Running))
	}
	kinds := slices.Sorted(maps.Keys(n.Work))
	x.family("sf_reconcile_seconds", "histogram", "time that a look at something took, with the step that followed")
	for _, kind := range kinds {
		x.times("sf_reconcile_seconds", n.Work[kind].Took, "kind", kind)
	}
	x.family("sf_reconcile_failures_total", "counter", "looks that failed and are repeated")
	for _, kind := range kinds {
		x.sample("sf_reconcile_failures_total", labelled("kind", kind), float64(n.Work[kind].Failed))
	}
	x.gauge("sf_reconcile_failing", "things whose last look failed", float64(n.Failing))
	x.family("sf_instances_waiting", "gauge", "this node's instances that wait, by what for")
	for _, what := range slices.Sorted(maps.Keys(n.Waits)) {
		x.sample("sf_instances_waiting", labelled("for", what), float64(n.Waits[what]))
	}
	x.gauge("sf_images_fetching", "images that are being fetched", float64(n.Fetching))
	x.gauge("sf_instances_remembered", "instances that the agent keeps something of in memory", float64(n.Instances))
	x.gauge("sf_networks_followed", "networks that this node has a part in", float64(n.Followed))
}

// images writes how large the image cache is.
func (x *exposition) images(list []*spec.CachedImage) {
	var size, idle float64
	for _, i := range list {
		size += float64(i.Size)
		if i.Users == 0 {
			idle += float64(i.Size)
		}
	}
	x.gauge("sf_images_cached", "images in this node's cache", float64(len(list)))
	x.gauge("sf_images_cached_bytes", "bytes of them", size)
	x.gauge("sf_images_idle_bytes", "bytes of those that no disk lies over", idle)
}

// broken tells which invariants of the ledgers do not hold: those that cost nothing to
// look at.
func broken(n *spec.Node) map[string]bool {
	u, l := n.Used, n.Limits
	return map[string]bool{
		"a ledger is not negative":    u.CPUs < 0 || u.MemoryMiB < 0 || u.DiskGB < 0 || u.Instances < 0,
		"an empty node has no claims": u.Instances == 0 && (u.CPUs != 0 || u.MemoryMiB != 0),
		"claims are within limits":    u.CPUs > l.CPUs || u.MemoryMiB > l.MemoryMiB || u.Instances > l.Instances,
	}
}

// invariants writes 1 for each that is broken.
func (x *exposition) invariants(nodes []*spec.Node) {
	const name = "sf_invariant_broken"
	x.family(name, "gauge", "1 where something holds no more that always should; limits may have been lowered under running instances")
	for _, n := range nodes {
		all := broken(n)
		for _, what := range slices.Sorted(maps.Keys(all)) {
			x.sample(name, labelled("node", n.Name, "invariant", what), truth(all[what]))
		}
	}
}
