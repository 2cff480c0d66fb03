package claims

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Seen is the record of when a node was there last, give or take a minute, and which
// nodes it knew of.
type Seen struct {
	At    time.Time      `json:"at"`
	Nodes store.Revision `json:"nodes,omitempty"` // it knew of all that had joined until then
}

// KnownTo returns the nodes that a lost one surely knows of, itself among them: those that
// joined before it was cut off. It goes on while more than half of these have no store,
// so only these count against it. Nobody, "", knows all.
func KnownTo(ctx context.Context, c *record.Client, lost string) (map[string]bool, error) {
	until, err := knows(ctx, c, lost)
	if err != nil {
		return nil, err
	}
	joined, _, _, err := record.List[Empty](ctx, c, record.NodeJoinedKey(""), store.Page{})
	if err != nil {
		return nil, err
	}
	late := map[string]bool{}
	for _, o := range joined {
		late[record.Base(o.Key)] = o.Revision > until
	}
	nodes, _, _, err := record.List[spec.Node](ctx, c, record.NodePrefix, store.Page{})
	known := map[string]bool{}
	for _, o := range nodes {
		if !late[o.Value.Name] {
			known[o.Value.Name] = true
		}
	}
	return known, err
}

// knows says until when a node surely knows of who joined: it reads all after it has
// registered, and says now and then how far it has followed since.
func knows(ctx context.Context, c *record.Client, node string) (store.Revision, error) {
	if node == "" {
		return math.MaxInt64, nil
	}
	n, err := record.Get[spec.Node](ctx, c, record.NodeKey(node))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	seen, err := record.Get[Seen](ctx, c, record.NodeSeenKey(node))
	return max(n.Revision, seen.Value.Nodes), ignoreMissing(err)
}
