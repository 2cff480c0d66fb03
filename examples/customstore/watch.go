package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shakenfist/cloud/store"
)

// watcher is a place in the log of a LogStore, whose mutex guards closed.
type watcher struct {
	s      *LogStore
	prefix string
	after  store.Revision // of its one reader
	closed bool
}

// Watch implements store.Store.
func (s *LogStore) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if after < s.begin {
		return nil, fmt.Errorf("watch %q after revision %d: %w", prefix, after, store.ErrCompacted)
	}
	return &watcher{s: s, prefix: prefix, after: after}, nil
}

// Next implements store.Watcher.
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	for {
		b, changed, expiry, err := w.ready()
		if err != nil || b.Revision > 0 {
			return b, err
		}
		if err := ctx.Err(); err != nil {
			return b, err
		}
		timer := time.NewTimer(expiry)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// ready returns what there is to deliver, or else what to wait for.
func (w *watcher) ready() (b store.Batch, changed <-chan struct{}, expiry time.Duration, err error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	switch {
	case w.s.closed || w.closed:
		return b, nil, 0, store.ErrClosed
	case w.after < w.s.begin:
		return b, nil, 0, fmt.Errorf("watch %q after revision %d: %w", w.prefix, w.after, store.ErrCompacted)
	}
	w.s.expire()
	for w.after < w.s.newest() && len(b.Events) == 0 {
		for _, e := range w.s.log[w.after-w.s.begin] {
			if strings.HasPrefix(e.Key, w.prefix) {
				b.Events = append(b.Events, e)
			}
		}
		w.after++
		b.Revision = w.after // without events at the end: a progress mark
	}
	return b, w.s.changed, w.s.untilExpiry(), nil
}

// Close implements store.Watcher.
func (w *watcher) Close() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.s.wake()
	}
	return nil
}
