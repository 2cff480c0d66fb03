package measure

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/shakenfist/cloud/store"
)

// StoreStats are what was asked of a store, and how it went, since it was opened.
type StoreStats struct {
	Gets, Lists int64
	Commits     int64 // that wrote something, or would have
	Conflicts   int64 // of them: somebody else was first
	Unknown     int64 // of them: the reply was lost
	Failed      int64 // calls of any kind that failed otherwise
	Took        Times // commits
	Watches     int64 // that are open
	Batches     int64 // that watches delivered
	Events      int64 // in them
	Gaps        int64 // watches that ended since their history was gone
}

// Store counts what is asked of another store.
type Store struct {
	below store.Store
	now   func() time.Time

	gets, lists, conflicts, unknown, failed, watches, batches, events, gaps atomic.Int64
	commits                                                                 Clock
}

// NewStore returns a store over another one, which stays the caller's to close.
func NewStore(below store.Store, now func() time.Time) *Store { return &Store{below: below, now: now} }

// Stats returns what was counted.
func (s *Store) Stats() StoreStats {
	took := s.commits.Times()
	return StoreStats{
		Gets: s.gets.Load(), Lists: s.lists.Load(), Commits: took.Count, Conflicts: s.conflicts.Load(), Unknown: s.unknown.Load(),
		Failed: s.failed.Load(), Took: took, Watches: s.watches.Load(), Batches: s.batches.Load(), Events: s.events.Load(), Gaps: s.gaps.Load(),
	}
}

// note counts a failure that is the store's, not the caller's.
func (s *Store) note(ctx context.Context, err error) {
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, store.ErrNotFound):
	case errors.Is(err, store.ErrConflict):
		s.conflicts.Add(1)
	case errors.Is(err, store.ErrUnknownOutcome):
		s.unknown.Add(1)
	case errors.Is(err, store.ErrCompacted):
		s.gaps.Add(1)
	default:
		s.failed.Add(1)
	}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := s.below.Get(ctx, key)
	s.gets.Add(1)
	s.note(ctx, err)
	return r, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	l, err := s.below.List(ctx, prefix, page)
	s.lists.Add(1)
	s.note(ctx, err)
	return l, err
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	start := s.now()
	rev, err := s.below.Commit(ctx, txn)
	s.commits.Took(s.now().Sub(start))
	s.note(ctx, err)
	return rev, err
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	w, err := s.below.Watch(ctx, prefix, after)
	s.note(ctx, err)
	if err != nil {
		return nil, err
	}
	s.watches.Add(1)
	return &watcher{Watcher: w, s: s}, nil
}

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	session, err := s.below.Session(ctx, ttl)
	s.note(ctx, err)
	return session, err
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, r store.Revision) error {
	err := s.below.Compact(ctx, r)
	s.note(ctx, err)
	return err
}

// Close closes the store below.
func (s *Store) Close() error { return s.below.Close() }

type watcher struct {
	store.Watcher
	s      *Store
	closed atomic.Bool
}

func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	b, err := w.Watcher.Next(ctx)
	switch {
	case err == nil:
		w.s.batches.Add(1)
		w.s.events.Add(int64(len(b.Events)))
	case !errors.Is(err, store.ErrClosed):
		w.s.note(ctx, err)
	}
	return b, err
}

func (w *watcher) Close() error {
	if !w.closed.Swap(true) {
		w.s.watches.Add(-1)
	}
	return w.Watcher.Close()
}
