package sf

import (
	"context"
	"errors"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// cordon is the record of a node that takes nothing new.
type cordon struct {
	Since time.Time `json:"since"`
}

// Level is the lowest level of records that the nodes understand that live now, and
// this process: two versions of the software may run in one cloud, and what the older
// one would misread is not written while it does.
func (c *Cloud) Level(ctx context.Context) (int, error) {
	nodes, err := c.Nodes(ctx)
	level := spec.Level
	for _, n := range nodes {
		if n.Live {
			level = min(level, n.Level)
		}
	}
	return level, err
}

// unreachable says since when a node has been away; the zero time while it is there.
func (c *Cloud) unreachable(ctx context.Context, name string) (since time.Time, err error) {
	_, err = c.store.Get(ctx, record.NodeLiveKey(name))
	if !errors.Is(err, store.ErrNotFound) {
		return since, storeError(err)
	}
	if lost, err := record.Get[claims.Lost](ctx, c.records, record.NodeLostKey(name)); err == nil {
		c.sights.note(lost.Key, lost.Revision, c.cfg.Clock.Now())
		return lost.Value.At, nil
	}
	seen, err := record.Get[claims.Seen](ctx, c.records, record.NodeSeenKey(name))
	switch {
	case err == nil:
		return seen.Value.At, nil
	case errors.Is(err, store.ErrNotFound):
		return c.cfg.Clock.Now(), nil // it was removed, or had no time to leave a trace
	}
	return since, storeError(err)
}

// sessions says since when, as far as this process knows, the nodes that live have
// surely had their sessions, or the store back.
func (c *Cloud) sessions(ctx context.Context) (map[string]time.Time, error) {
	list, err := c.store.List(ctx, record.NodeLivePrefix, store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	since := map[string]time.Time{}
	for _, r := range list.Records {
		since[record.Base(r.Key)] = c.sights.note(r.Key, r.Revision, c.cfg.Clock.Now())
	}
	return since, nil
}

// names returns the names of the records below a prefix.
func (c *Cloud) names(ctx context.Context, prefix string) (map[string]bool, error) {
	list, err := c.store.List(ctx, prefix, store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	names := make(map[string]bool, len(list.Records))
	for _, r := range list.Records {
		names[record.Base(r.Key)] = true
	}
	return names, nil
}

// CordonNode makes a node take nothing new, whatever room it has; what runs there
// runs on. Doing it twice is nil; ErrNotFound for a node that is not there.
func (c *Cloud) CordonNode(ctx context.Context, name string) error {
	now := c.cfg.Clock.Now()
	t := c.records.Begin().Put(record.CordonKey(name), cordon{now})
	return c.changeNode(ctx, t, name, "cordon")
}

// UncordonNode lets a node take new things again.
func (c *Cloud) UncordonNode(ctx context.Context, name string) error {
	t := c.records.Begin().Delete(record.CordonKey(name))
	return c.changeNode(ctx, t, name, "uncordon")
}

func (c *Cloud) changeNode(ctx context.Context, t *record.Txn, name, operation string) error {
	if _, err := record.Get[spec.Node](ctx, c.records, record.NodeKey(name)); err != nil {
		return notFound(err, KindNode, name)
	}
	t.If(store.Exists(record.NodeKey(name)))
	if err := c.records.Event(ctx, t, Event{Time: c.cfg.Clock.Now(), Kind: KindNode, Object: name, Node: name, Operation: operation}); err != nil {
		return storeError(err)
	}
	_, err := c.records.Commit(ctx, t)
	return notFound(err, KindNode, name)
}

// tagged counts, by node, what an instance feels for the namespace's instances there.
func (c *Cloud) tagged(ctx context.Context, namespace string, weights map[string]int) (map[string]int, error) {
	sum := map[string]int{}
	for tag, weight := range weights {
		list, _, _, err := record.List[claims.Placed](ctx, c.records, record.TagKey(namespace, tag, ""), store.Page{})
		if err != nil {
			return nil, storeError(err)
		}
		for _, o := range list {
			sum[o.Value.Node] += weight
		}
	}
	return sum, nil
}

// NodeWork returns the UUIDs of the objects of a kind that a node has a part in,
// sorted: an entry is made before the node does anything for an object, and goes
// when nothing of it is left there.
func (c *Cloud) NodeWork(ctx context.Context, node string, kind Kind) ([]string, error) {
	return c.workOf(ctx, node, kind)
}
