package sf

import (
	"context"
	"slices"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/place"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// Nodes returns the nodes of the cloud with what is claimed of them, sorted by name.
func (c *Cloud) Nodes(ctx context.Context) ([]*Node, error) {
	all, err := c.roster(ctx)
	if err != nil {
		return nil, err
	}
	defer c.keep(all)
	var seen table[claims.Seen]
	if err := seen.read(ctx, c, record.NodeSeenKey("")); err != nil {
		return nil, err
	}
	var lost table[claims.Lost]
	if err := lost.read(ctx, c, record.NodeLostKey("")); err != nil {
		return nil, err
	}
	now := c.cfg.Clock.Now()
	for _, r := range lost.records {
		c.sights.note(r.Key, r.Revision, now)
	}
	nodes := make([]*Node, 0, len(all.nodes()))
	for _, n := range all.nodes() {
		if n.Seen = now; !n.Live { // as good as now while it holds its session
			n.Lost, n.Seen = lost.of(n.Name).At, n.Started
			if at := seen.of(n.Name).At; at.After(n.Started) {
				n.Seen = at
			}
		}
		n.Notes, n.Buses = slices.Clone(n.Notes), slices.Clone(n.Buses) // what is the caller's is its alone
		n.NICModels, n.VideoModels = slices.Clone(n.NICModels), slices.Clone(n.VideoModels)
		nodes = append(nodes, &n)
	}
	return nodes, nil
}

// roster is what every placement reads of all nodes. With thousands of them that is
// most of what a create costs. What is made for it would bring the next collection of
// garbage nearer, too, and where the store is in memory that costs the more the more
// instances there are. So a roster is used again, with all its memory, and only what
// has changed is decoded.
type roster struct {
	list           table[Node]
	used           table[spec.Capacity]
	live, cordoned column
	other          column       // of what a placement looks at besides
	candidates     []place.Node // the nodes as the scheduler sees them for an instance
}

// roster reads the nodes, with what is claimed of them and whether they live and take
// anything new. It is its caller's until that keeps it.
func (c *Cloud) roster(ctx context.Context) (*roster, error) {
	r := c.spare.Swap(nil)
	if r == nil {
		r = new(roster)
	}
	if err := r.list.read(ctx, c, record.NodePrefix); err != nil {
		return nil, err
	}
	if err := r.used.read(ctx, c, record.NodeUsedKey("")); err != nil {
		return nil, err
	}
	now := c.cfg.Clock.Now()
	err := r.live.read(ctx, c, record.NodeLivePrefix, func(k int) error {
		session := &r.live.records[k]
		c.sights.note(session.Key, session.Revision, now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := r.cordoned.read(ctx, c, record.CordonKey(""), nil); err != nil {
		return nil, err
	}
	for k := range r.nodes() {
		n := &r.nodes()[k]
		n.Used, n.Live, n.Cordoned = r.used.of(n.Name), r.live.has(n.Name), r.cordoned.has(n.Name)
	}
	return r, nil
}

// keep has a roster used by who needs one next. Nothing of it may be looked at afterwards.
func (c *Cloud) keep(r *roster) { c.spare.Store(r) }

// nodes are sorted by name.
func (r *roster) nodes() []Node { return r.list.values[:len(r.list.records)] }
