// Package record keeps typed records in a store: the key layout, the codec, and
// transactions that survive conflicts and lost replies.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/shakenfist/cloud/store"
)

// attempts bounds how often a conflicting update starts over. Each try means
// that somebody else got through, so running out of them is a bug or a storm.
const attempts = 64

// ErrUnchanged is returned by an update function that has nothing to write.
var ErrUnchanged = errors.New("record: unchanged")

// Client reads and writes the records of one store.
type Client struct {
	store store.Store
	newID func() string

	mu      sync.RWMutex
	decoded map[string]decoded
	size    int // of the decoded records' texts, bytes
}

type decoded struct {
	revision store.Revision
	mark     string // how its text begins: with the ID of its transaction
	value    any
	size     int
}

// markOf is how a text begins. A store that was restored from a backup may reach a
// revision again with something else.
func markOf(text []byte) string { return string(text[:min(len(text), markSize)]) }

const markSize = len(`{"`+memberCommit+`":"`) + 36

// maxDecoded bounds the decoded records that are kept, by the bytes of their
// texts: room for the records of 25,000 instances, which a small cloud never fills. A
// record is decoded once per revision however often it is read.
const maxDecoded = 128 << 20

// New returns a Client over s. newID names transactions; it must never repeat.
func New(s store.Store, newID func() string) *Client {
	return &Client{store: s, newID: newID, decoded: map[string]decoded{}}
}

// Store returns the store below.
func (c *Client) Store() store.Store { return c.store }

// Cached tells how many decoded records are kept, and the bytes of their texts.
func (c *Client) Cached() (entries, bytes int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.decoded), c.size
}

// Object is a record as read. Value is shared with other readers: its slices and
// maps must not be modified.
type Object[T any] struct {
	Key      string
	Revision store.Revision
	Value    T
	raw      []byte
}

// Get reads one record; store.ErrNotFound when it does not exist.
func Get[T any](ctx context.Context, c *Client, key string) (Object[T], error) {
	r, err := c.store.Get(ctx, key)
	if err != nil {
		return Object[T]{}, err
	}
	return decode[T](c, r)
}

// Read is a record that was read from the store.
func Read[T any](c *Client, r store.Record) (Object[T], error) { return decode[T](c, r) }

// Bytes reads what PutBytes wrote.
func Bytes(ctx context.Context, c *Client, key string) ([]byte, error) {
	r, err := c.store.Get(ctx, key)
	return r.Value, err
}

// List reads the records below a prefix, sorted by key, and the revision they
// were read at.
func List[T any](ctx context.Context, c *Client, prefix string, page store.Page) (objects []Object[T], rev store.Revision, more bool, err error) {
	l, err := c.store.List(ctx, prefix, page)
	if err != nil {
		return nil, 0, false, err
	}
	objects = make([]Object[T], 0, len(l.Records))
	for _, r := range l.Records {
		o, err := decode[T](c, r)
		if err != nil {
			return nil, 0, false, err
		}
		objects = append(objects, o)
	}
	return objects, l.Revision, l.More, nil
}

func decode[T any](c *Client, r store.Record) (Object[T], error) {
	c.mu.RLock()
	d, ok := c.decoded[r.Key]
	c.mu.RUnlock()
	if v, same := d.value.(T); ok && same && d.revision == r.Revision && d.mark == string(r.Value[:min(len(r.Value), markSize)]) {
		return Object[T]{Key: r.Key, Revision: r.Revision, Value: v, raw: r.Value}, nil
	}
	return decodeAnew[T](c, r)
}

// decodeAnew is apart so that what is kept costs no allocation.
func decodeAnew[T any](c *Client, r store.Record) (Object[T], error) {
	o := Object[T]{Key: r.Key, Revision: r.Revision, raw: r.Value}
	if err := json.Unmarshal(r.Value, &o.Value); err != nil {
		return o, fmt.Errorf("record: %s at revision %d is not readable: %w", r.Key, r.Revision, err)
	}
	c.mu.Lock()
	c.size += len(r.Value) - c.decoded[r.Key].size
	if c.size > maxDecoded {
		clear(c.decoded)
		c.size = len(r.Value)
	}
	c.decoded[r.Key] = decoded{r.Revision, markOf(r.Value), o.Value, len(r.Value)}
	c.mu.Unlock()
	return o, nil
}

// Update changes one record: it reads it, lets change modify a private copy and
// add to the transaction, and commits on the condition that the record is as
// read. Whoever loses a race starts over. change may return ErrUnchanged.
func Update[T any](ctx context.Context, c *Client, key string, change func(v *T, t *Txn) error) (Object[T], error) {
	for range attempts {
		r, err := c.store.Get(ctx, key)
		if err != nil {
			return Object[T]{}, err
		}
		o := Object[T]{Key: key, Revision: r.Revision, raw: r.Value}
		if err := json.Unmarshal(r.Value, &o.Value); err != nil {
			return o, fmt.Errorf("record: %s is not readable: %w", key, err)
		}
		t := c.Begin()
		if err := change(&o.Value, t); err != nil {
			if errors.Is(err, ErrUnchanged) {
				return o, nil
			}
			return o, err
		}
		t.lead(o.Key, o.Revision, o.raw, o.Value)
		rev, err := c.Commit(ctx, t)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		o.Revision = rev
		return o, err
	}
	return Object[T]{}, fmt.Errorf("record: %s: lost %d races in a row: %w", key, attempts, store.ErrConflict)
}

// Retry runs do until it ends with anything but a conflict. do reads what it
// needs afresh each time.
func Retry(ctx context.Context, do func() error) error {
	for range attempts {
		err := do()
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("record: lost %d races in a row: %w", attempts, store.ErrConflict)
}
