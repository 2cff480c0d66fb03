package sf

import (
	"bytes"
	"context"
	"strings"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/store"
)

// column is what the records below a prefix say, one for each of some nodes, sorted
// by their names. It is read again and again.
type column struct {
	records, before []store.Record // now, and when it was read last; their memory changes places
	name            int            // where in a key the node's name begins
	next            int            // record to look at
}

// read reads the records below a prefix. changed is called for each that is not as the
// one in its place was when the column was read last; nil for nothing.
func (col *column) read(ctx context.Context, c *Cloud, prefix string, changed func(k int) error) error {
	col.records, col.before = col.before, col.records
	list, err := c.store.List(ctx, prefix, store.Page{Into: col.records})
	if err != nil {
		return storeError(err)
	}
	col.records, col.name, col.next = list.Records, len(prefix), 0
	if changed == nil {
		return nil
	}
	for k := range col.records {
		if k < len(col.before) && same(&col.records[k], &col.before[k]) {
			continue
		}
		if err := changed(k); err != nil {
			return err
		}
	}
	return nil
}

// at is the index of a node's record, -1 for none. Nodes are asked for in order, each once.
func (col *column) at(name string) int {
	for ; col.next < len(col.records); col.next++ {
		switch c := strings.Compare(col.records[col.next].Key[col.name:], name); {
		case c == 0:
			col.next++
			return col.next - 1
		case c > 0:
			return -1
		}
	}
	return -1
}

func (col *column) has(name string) bool { return col.at(name) >= 0 }

// same looks at the text, too: a store that was restored from a backup may reach a
// revision again with something else. It costs little where both are in the same memory.
func same(a, b *store.Record) bool {
	return a.Revision == b.Revision && a.Key == b.Key && bytes.Equal(a.Value, b.Value)
}

// table is a column with its records decoded, each once for as long as it stays as it is.
type table[T any] struct {
	column
	values []T
}

func (t *table[T]) read(ctx context.Context, c *Cloud, prefix string) error {
	return t.column.read(ctx, c, prefix, func(k int) error {
		o, err := record.Read[T](c.records, t.records[k])
		if err != nil {
			return storeError(err)
		}
		if len(t.values) < len(t.records) {
			t.values = append(t.values, make([]T, len(t.records)-len(t.values))...)
		}
		t.values[k] = o.Value
		return nil
	})
}

// of is what a node's record says, nothing where there is none.
func (t *table[T]) of(name string) (v T) {
	if k := t.at(name); k >= 0 {
		v = t.values[k]
	}
	return v
}
