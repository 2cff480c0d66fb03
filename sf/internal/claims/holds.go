package claims

import (
	"context"
	"errors"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/store"
)

// Held is the record of an image that a node has in its cache. It is a hint: who
// believes it asks the node, and does without where it is wrong.
type Held struct {
	ID string `json:"id"` // of its content
}

// Hold records that a node has an image by a name.
func Hold(ctx context.Context, c *record.Client, node, name, id string) error {
	list, index := record.NodeImageKeys(node, name)
	switch o, err := record.Get[Held](ctx, c, list); {
	case err == nil && o.Value.ID == id:
		return nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	_, err := c.Commit(ctx, c.Begin().Put(list, Held{id}).Put(index, Held{id}))
	return err
}

// LetGo forgets what a node has in its cache, but for what has returns, by ID. It
// is asked after the records were read: an image that is there at that time has
// been since its record was written.
func LetGo(ctx context.Context, c *record.Client, node string, has func() (map[string]bool, error)) error {
	held, _, _, err := record.List[Held](ctx, c, record.NodeImagePrefix(node), store.Page{})
	if err != nil || len(held) == 0 {
		return err
	}
	keep, err := has()
	if err != nil {
		return err
	}
	for _, o := range held {
		if keep[o.Value.ID] {
			continue
		}
		t := c.Begin().If(store.RevisionIs(o.Key, o.Revision)) // it may be fetched again just now
		_, err := c.Commit(ctx, t.Delete(o.Key, record.IndexOf(node, o.Key)))
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}
