package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/store"
)

// Txn collects the writes of one logical change. Errors of building it surface
// in Commit. The first record written should be the one that the change is
// about: it is read to learn the outcome when a reply was lost.
type Txn struct {
	id     string
	txn    store.Txn
	leader string // key of the record that tells the outcome
	err    error
}

// Begin starts a transaction.
func (c *Client) Begin() *Txn { return &Txn{id: c.newID()} }

// If adds conditions.
func (t *Txn) If(conds ...store.Cond) *Txn {
	t.txn.If = append(t.txn.If, conds...)
	return t
}

// Create writes a record that must not exist.
func (t *Txn) Create(key string, value any) *Txn {
	t.If(store.Absent(key))
	return t.Put(key, value)
}

// Put writes a record whatever was there.
func (t *Txn) Put(key string, value any) *Txn { return t.put(0, key, value, nil) }

// PutBytes writes something large that is no record: it is stored as it is, and
// read by Bytes.
func (t *Txn) PutBytes(key string, value []byte) *Txn {
	t.txn.Do = append(t.txn.Do, store.Put(key, value))
	return t
}

// PutIn writes a record that vanishes with a session.
func (t *Txn) PutIn(s store.SessionID, key string, value any) *Txn {
	return t.put(s, key, value, nil)
}

// Replace writes a record that must be as o was read.
func Replace[T any](t *Txn, o Object[T], value T) *Txn {
	t.If(store.RevisionIs(o.Key, o.Revision))
	return t.put(0, o.Key, value, o.raw)
}

// Delete deletes keys.
func (t *Txn) Delete(keys ...string) *Txn {
	for _, k := range keys {
		t.txn.Do = append(t.txn.Do, store.Delete(k))
	}
	return t
}

// DeletePrefix deletes everything below prefixes.
func (t *Txn) DeletePrefix(prefixes ...string) *Txn {
	for _, p := range prefixes {
		t.txn.Do = append(t.txn.Do, store.DeletePrefix(p))
	}
	return t
}

func (t *Txn) put(s store.SessionID, key string, value any, old []byte) *Txn {
	text, err := encode(value, old, t.id)
	if err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("%s: %w", key, err))
		return t
	}
	if t.leader == "" {
		t.leader = key
	}
	t.txn.Do = append(t.txn.Do, store.PutIn(s, key, text))
	return t
}

// lead writes the record that the transaction is about, on the condition that it
// is still at the revision it was read at.
func (t *Txn) lead(key string, rev store.Revision, old []byte, value any) {
	t.If(store.RevisionIs(key, rev))
	t.put(0, key, value, old)
	t.leader = key
}

// lostReplies bounds how often a commit of unknown outcome is tried again.
const lostReplies = 8

// Commit carries out t. A lost reply is resolved by reading: the records carry
// the ID of the transaction that wrote and of the one that created them, and
// committing t again under its own conditions cannot do it twice. Where that cannot be
// read either the outcome stays store.ErrUnknownOutcome, whatever comes after it: that a
// later try conflicts, or never arrives, says nothing of the first.
func (c *Client) Commit(ctx context.Context, t *Txn) (store.Revision, error) {
	if t.err != nil {
		return 0, t.err
	}
	rev, err := c.store.Commit(ctx, t.txn)
	for i := 0; i < lostReplies && errors.Is(err, store.ErrUnknownOutcome); i++ {
		if rev, ok, _ := c.happened(ctx, t); ok {
			return rev, nil
		}
		var again error
		rev, again = c.store.Commit(ctx, t.txn)
		if errors.Is(again, store.ErrConflict) {
			done, ok, unread := c.happened(ctx, t)
			switch {
			case ok:
				return done, nil
			case unread != nil:
				again = unread
			default:
				return rev, again
			}
		} else if again == nil {
			return rev, nil
		} else if !errors.Is(again, store.ErrUnknownOutcome) {
			return 0, fmt.Errorf("%w; tried again: %w", err, again)
		}
		err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, again)
	}
	return rev, err
}

// happened reports whether the store shows that t was committed; the error is why that
// could not be read.
func (c *Client) happened(ctx context.Context, t *Txn) (rev store.Revision, ok bool, err error) {
	if t.leader == "" {
		return 0, false, nil // only deletions: doing them again is harmless
	}
	r, err := c.store.Get(ctx, t.leader)
	if errors.Is(err, store.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	var m marks
	if json.Unmarshal(r.Value, &m) != nil {
		return 0, false, nil
	}
	return r.Revision, m.Commit == t.id || m.Born == t.id, nil
}
