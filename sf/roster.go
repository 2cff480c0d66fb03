package sf

import (
	"context"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Nodes returns the nodes of the cloud with what is claimed of them, sorted by name.
func (c *Cloud) Nodes(ctx context.Context) ([]*Node, error) {
	all, err := c.roster(ctx)
	if err != nil {
		return nil, err
	}
	nodes := make([]*Node, 0, len(all.list))
	if err := all.each(func(n *Node) { clone := *n; nodes = append(nodes, &clone) }); err != nil {
		return nil, err
	}
	seen, err := c.column(ctx, record.NodeSeenKey(""))
	if err != nil {
		return nil, err
	}
	lost, err := c.column(ctx, record.NodeLostKey(""))
	if err != nil {
		return nil, err
	}
	now := c.cfg.Clock.Now()
	for _, n := range nodes {
		n.Seen = n.Started
		var at claims.Seen
		if err := read(c, seen.at(n.Name), &at); err != nil {
			return nil, err
		}
		var since claims.Lost
		if r := lost.at(n.Name); r != nil {
			if err := read(c, r, &since); err != nil {
				return nil, err
			}
			c.sights.note(r.Key, r.Revision, now)
		}
		switch {
		case n.Live:
			n.Seen = now // as good as now: it holds its session
			continue
		case at.At.After(n.Started):
			n.Seen = at.At
		}
		n.Lost = since.At
	}
	return nodes, nil
}

// roster is what every placement reads of all nodes. With thousands of them that is
// most of what a create costs, so nothing is made that is not looked at.
type roster struct {
	c                    *Cloud
	list                 []store.Record
	used, live, cordoned *column
}

func (c *Cloud) roster(ctx context.Context) (*roster, error) {
	list, err := c.store.List(ctx, record.NodePrefix, store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	used, err := c.column(ctx, record.NodeUsedKey(""))
	if err != nil {
		return nil, err
	}
	live, err := c.column(ctx, record.NodeLivePrefix)
	if err != nil {
		return nil, err
	}
	cordoned, err := c.column(ctx, record.CordonKey(""))
	return &roster{c, list.Records, used, live, cordoned}, err
}

// each shows look the nodes, once and sorted by name, with what is claimed of them and
// whether they live and take anything new. n is another node after look.
func (r *roster) each(look func(n *Node)) error {
	n, now := new(Node), r.c.cfg.Clock.Now()
	for k := range r.list {
		if err := read(r.c, &r.list[k], n); err != nil {
			return err
		}
		n.Used = spec.Capacity{}
		if err := read(r.c, r.used.at(n.Name), &n.Used); err != nil {
			return err
		}
		session := r.live.at(n.Name)
		if n.Live = session != nil; n.Live {
			r.c.sights.note(session.Key, session.Revision, now)
		}
		n.Cordoned = r.cordoned.at(n.Name) != nil
		look(n)
	}
	return nil
}

// column is what the records below a prefix say, one for each of some nodes, sorted
// by their names.
type column struct {
	records []store.Record
	prefix  int
}

func (c *Cloud) column(ctx context.Context, prefix string) (*column, error) {
	list, err := c.store.List(ctx, prefix, store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	return &column{list.Records, len(prefix)}, nil
}

// at is a node's record, nil for none. Nodes are asked for in order.
func (c *column) at(name string) *store.Record {
	for len(c.records) > 0 && c.records[0].Key[c.prefix:] < name {
		c.records = c.records[1:]
	}
	if len(c.records) == 0 || c.records[0].Key[c.prefix:] != name {
		return nil
	}
	return &c.records[0]
}

// read decodes a record, where there is one.
func read[T any](c *Cloud, r *store.Record, v *T) error {
	if r == nil {
		return nil
	}
	o, err := record.Read[T](c.records, *r)
	if err != nil {
		return storeError(err)
	}
	*v = o.Value
	return nil
}
