package sf

import (
	"context"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// listChunk is how many keys are read at a time.
const listChunk = 500

// list walks the index of one namespace, or the records of all.
func list[T any](ctx context.Context, c *Cloud, opt ListOptions, kind Kind, prefix string, get func(context.Context, string) (*T, error), hidden func(*T) bool) ([]*T, string, error) {
	prefixes := []string{prefix}
	if opt.Namespace != "" {
		prefixes = []string{record.LivePrefix(kind, opt.Namespace)}
		if opt.All {
			prefixes = append(prefixes, record.DeadPrefix(kind, opt.Namespace))
		}
	}
	ids := c.walk(opt.After, prefixes)
	items, last := []*T{}, ""
	for {
		id, ok, err := ids.next(ctx)
		if err != nil {
			return nil, "", storeError(err)
		}
		if !ok {
			return items, "", nil
		}
		item, err := get(ctx, id)
		switch {
		case spec.ClassOf(err) == ErrNotFound: // forgotten meanwhile
		case err != nil:
			return nil, "", err
		case hidden(item):
		case opt.Limit > 0 && len(items) == opt.Limit:
			return items, last, nil
		default:
			items, last = append(items, item), id
		}
	}
}

// walk goes through the names below some prefixes in one order, a chunk at a time.
func (c *Cloud) walk(after string, prefixes []string) *walker {
	w := &walker{}
	for _, p := range prefixes {
		cur := &cursor{store: c.store, prefix: p, more: true}
		if after != "" {
			cur.after = p + after
		}
		w.cursors = append(w.cursors, cur)
	}
	return w
}

type walker struct{ cursors []*cursor }

// next returns the least name that has not been returned.
func (w *walker) next(ctx context.Context) (name string, ok bool, err error) {
	var least *cursor
	for _, c := range w.cursors {
		if err := c.fill(ctx); err != nil {
			return "", false, err
		}
		if len(c.names) > 0 && (least == nil || c.names[0] < least.names[0]) {
			least = c
		}
	}
	if least == nil {
		return "", false, nil
	}
	name = least.names[0]
	for _, c := range w.cursors { // what was just deleted may be below both
		if len(c.names) > 0 && c.names[0] == name {
			c.names = c.names[1:]
		}
	}
	return name, true, nil
}

// cursor is a place below one prefix.
type cursor struct {
	store  store.Store
	prefix string
	after  string   // the last key read
	names  []string // read, not yet returned
	more   bool
}

func (c *cursor) fill(ctx context.Context) error {
	for len(c.names) == 0 && c.more {
		l, err := c.store.List(ctx, c.prefix, store.Page{After: c.after, Limit: listChunk})
		if err != nil {
			return err
		}
		c.names = make([]string, 0, len(l.Records))
		for _, r := range l.Records {
			c.after = r.Key
			c.names = append(c.names, record.Base(r.Key))
		}
		c.more = l.More
	}
	return nil
}
