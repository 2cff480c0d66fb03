package faulty

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
)

var _ store.Store = (*Store)(nil)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (r store.Record, err error) {
	err = s.call(ctx, Call{Op: Get, Key: key}, func() (err error) {
		r, err = s.inner.Get(ctx, key)
		return err
	})
	return only(r, err)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, page store.Page) (l store.List, err error) {
	err = s.call(ctx, Call{Op: List, Key: prefix}, func() (err error) {
		l, err = s.inner.List(ctx, prefix, page)
		return err
	})
	return only(l, err)
}

// Commit implements store.Store. A transaction that breaks the rules for all
// stores is refused before it could get lost.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var r store.Revision
	err := s.call(ctx, Call{Op: Commit, Key: firstKey(txn), Txn: cloned(txn)}, func() (err error) {
		r, err = s.inner.Commit(ctx, txn)
		return err
	})
	if errors.Is(err, ErrInjected) {
		return 0, err // the reply that carried r was lost
	}
	return r, err
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	var w store.Watcher
	err := s.call(ctx, Call{Op: Watch, Key: prefix}, func() (err error) {
		w, err = s.inner.Watch(ctx, prefix, after)
		return err
	})
	if err != nil {
		if w != nil {
			w.Close()
		}
		return nil, err
	}
	return &watcher{s: s, prefix: prefix, Watcher: w}, nil
}

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	var x store.Session
	err := s.call(ctx, Call{Op: Session}, func() (err error) {
		x, err = s.inner.Session(ctx, ttl)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &session{s: s, Session: x, deadline: x.Deadline()}, nil
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, r store.Revision) error {
	return s.call(ctx, Call{Op: Compact}, func() error { return s.inner.Compact(ctx, r) })
}

// Close closes the store behind. Late commits that did not happen by now never will.
func (s *Store) Close() error { return s.inner.Close() }

type watcher struct {
	s      *Store
	prefix string
	store.Watcher
}

func (w *watcher) Next(ctx context.Context) (b store.Batch, err error) {
	err = w.s.call(ctx, Call{Op: Next, Key: w.prefix}, func() (err error) {
		b, err = w.Watcher.Next(ctx)
		return err
	})
	return b, err
}

type session struct {
	s *Store
	store.Session
	mu       sync.Mutex
	deadline time.Time
}

func (x *session) Renew(ctx context.Context) error {
	err := x.s.call(ctx, Call{Op: Renew}, func() error { return x.Session.Renew(ctx) })
	if err == nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.deadline = x.Session.Deadline()
	}
	return err
}

// Deadline does not know of renewals whose reply was lost.
func (x *session) Deadline() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.deadline
}

func (x *session) Close(ctx context.Context) error {
	return x.s.call(ctx, Call{Op: End}, func() error { return x.Session.Close(ctx) })
}

func only[T any](v T, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

func firstKey(txn store.Txn) string {
	switch {
	case len(txn.Do) > 0:
		return txn.Do[0].Key
	case len(txn.If) > 0:
		return txn.If[0].Key
	}
	return ""
}

// cloned makes a transaction last beyond the call that brought it.
func cloned(txn store.Txn) store.Txn {
	txn.If, txn.Do = slices.Clone(txn.If), slices.Clone(txn.Do)
	for i := range txn.Do {
		txn.Do[i].Value = bytes.Clone(txn.Do[i].Value)
	}
	return txn
}
