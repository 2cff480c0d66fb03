package sf

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// many reads records below a prefix whose names come in order. Where most of what is
// there is asked for, it reads a page at a time instead of a record.
type many[T any] struct {
	records *record.Client
	prefix  string
	size    int // of a page
	page    []store.Record
	hits    int // of what the last page had, what was asked for
}

// get returns one record; names only grow from call to call.
func (m *many[T]) get(ctx context.Context, name string) (record.Object[T], error) {
	if len(m.page) > 0 && m.page[0].Key[len(m.prefix):] == name { // as it is nearly always
		return m.take(0)
	}
	key := m.prefix + name
	i, found := slices.BinarySearchFunc(m.page, key, func(r store.Record, key string) int { return strings.Compare(r.Key, key) })
	if !found && i == len(m.page) && (m.page == nil || m.hits > m.size/8) {
		l, err := m.records.Store().List(ctx, m.prefix, store.Page{After: key[:len(key)-1], Limit: m.size})
		if err != nil {
			return record.Object[T]{}, err
		}
		m.page, m.hits = l.Records, 0
		i, found = slices.BinarySearchFunc(m.page, key, func(r store.Record, key string) int { return strings.Compare(r.Key, key) })
	}
	if !found { // what is not asked for in pages, or came after the page was read
		return record.Get[T](ctx, m.records, key)
	}
	return m.take(i)
}

func (m *many[T]) take(i int) (record.Object[T], error) {
	r := m.page[i]
	m.page, m.hits = m.page[i+1:], m.hits+1
	return record.Read[T](m.records, r)
}

// instances returns a function that is Instance for growing UUIDs, limit of them or
// with 0 all, and reads many at a time.
func (c *Cloud) instances(limit int) func(context.Context, string) (*Instance, error) {
	size := listChunk
	if limit > 0 {
		size = min(size, limit+1) // the list looks one further
	}
	wanted := many[spec.Instance]{records: c.records, prefix: record.InstancePrefix, size: size}
	statuses := many[spec.InstanceStatus]{records: c.records, prefix: record.InstanceStatusPrefix, size: size}
	away := map[string]time.Time{} // since when nodes have been
	return func(ctx context.Context, id string) (*Instance, error) {
		o, err := wanted.get(ctx, id)
		if err != nil {
			return nil, notFound(err, KindInstance, id)
		}
		s, err := statuses.get(ctx, id)
		if err != nil {
			return nil, notFound(err, KindInstance, id)
		}
		return c.instanceOf(o, s, func(node string) (time.Time, error) {
			since, known := away[node]
			if known {
				return since, nil
			}
			since, err := c.unreachable(ctx, node)
			if err == nil {
				away[node] = since
			}
			return since, err
		})
	}
}
