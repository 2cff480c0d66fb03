package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
)

type watcher struct {
	s      *Store
	prefix string
	after  store.Revision // the reader's: everything up to here was delivered
	done   chan struct{}
	close  sync.Once
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.hmu.RLock()
	defer s.hmu.RUnlock()
	if _, _, err := s.history.Next(prefix, after); err != nil {
		return nil, fmt.Errorf("watch %q: %w", prefix, err)
	}
	return &watcher{s: s, prefix: prefix, after: after, done: make(chan struct{})}, nil
}

// Next implements store.Watcher.
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	for {
		if w.isClosed() || w.s.isClosed() {
			return store.Batch{}, store.ErrClosed
		}
		w.s.expire()
		batch, ok, err := w.ready()
		if err != nil {
			return store.Batch{}, fmt.Errorf("watch %q: %w", w.prefix, err)
		}
		if ok {
			w.after = batch.Revision
			return batch, nil
		}
		if err := ctx.Err(); err != nil {
			return store.Batch{}, err
		}
		if err := w.wait(ctx); err != nil {
			return store.Batch{}, err
		}
	}
}

// Close implements store.Watcher.
func (w *watcher) Close() error {
	w.close.Do(func() { close(w.done) })
	return nil
}

func (w *watcher) isClosed() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *watcher) ready() (store.Batch, bool, error) {
	w.s.hmu.RLock()
	defer w.s.hmu.RUnlock()
	return w.s.history.Next(w.prefix, w.after)
}

// wait returns when there may be something new: a publication, or the end of a session.
func (w *watcher) wait(ctx context.Context) error {
	wake, ready := w.s.waken(w.after)
	if ready {
		return nil
	}
	var expiry <-chan time.Time
	if at := w.s.state.Load().Expiry(); !at.IsZero() {
		d := at.Sub(w.s.now())
		if d <= 0 {
			d = retryExpiry
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		expiry = timer.C
	}
	select {
	case <-wake:
		return nil
	case <-expiry:
		return nil
	case <-w.done:
		return store.ErrClosed
	case <-w.s.closed:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waken returns a channel that the next publication closes, or true when there
// already is a revision greater than after.
func (s *Store) waken(after store.Revision) (<-chan struct{}, bool) {
	s.hmu.Lock()
	defer s.hmu.Unlock()
	if s.history.Newest() > after {
		return nil, true
	}
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake, false
}
