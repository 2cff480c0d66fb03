// Package events hands hints about machines to everybody who follows them,
// however slow one of them is.
package events

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/shakenfist/cloud/driver"
)

// Hub hands events to all its streams. It waits for nobody and calls nobody back,
// so it may be used with any lock held.
type Hub struct {
	Driver string // named in errors

	mu      sync.Mutex
	streams []*Stream
	closed  bool
}

// Stream keeps the latest event of each machine until it is asked for, so its
// memory is bounded by the number of machines. It is a driver.EventStream.
type Stream struct {
	hub   *Hub
	ready chan struct{} // holds a token while there is something to look at

	queue  []driver.Event // guarded by hub.mu, as is closed
	closed bool
}

// Open returns a stream of what is published from now on. That of a closed hub is
// closed.
func (h *Hub) Open() *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Stream{hub: h, ready: make(chan struct{}, 1), closed: h.closed}
	h.streams = append(h.streams, s)
	return s
}

// Publish hands an event to all streams. Where an older one of the same machine has
// not been read yet, it takes that one's place, at the end of the queue.
func (h *Hub) Publish(e driver.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.streams {
		s.queue = slices.DeleteFunc(s.queue, func(old driver.Event) bool { return old.ID == e.ID })
		s.queue = append(s.queue, e)
		s.signal()
	}
}

// Changed publishes what there is to tell when one status of a machine follows
// another: a new state or boot, or else a restart of the guest. The first status of
// all, with nothing before it, is told too.
func (h *Hub) Changed(before, after driver.Status) {
	switch {
	case after.State != before.State || after.Boot != before.Boot || before.Since.IsZero():
		h.Publish(driver.Event{ID: after.ID, State: after.State, Reason: after.Reason})
	case after.Resets != before.Resets:
		h.Publish(driver.Event{ID: after.ID, State: after.State, Reason: "the guest restarted"})
	}
}

// Close ends all streams: each still gives what it has.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.streams {
		s.closed = true
		s.signal()
	}
}

func (s *Stream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Next implements driver.EventStream. After the end it is fs.ErrClosed.
func (s *Stream) Next(ctx context.Context) (driver.Event, error) {
	for {
		if e, ok, err := s.take(); ok || err != nil {
			return e, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return driver.Event{}, ctx.Err()
		}
	}
}

func (s *Stream) take() (driver.Event, bool, error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if len(s.queue) > 0 {
		e := s.queue[0]
		s.queue = s.queue[1:]
		return e, true, nil
	}
	if s.closed {
		s.signal() // for the next Next
		return driver.Event{}, false, fmt.Errorf("%s: event stream: %w", s.hub.Driver, fs.ErrClosed)
	}
	return driver.Event{}, false, nil
}

// Close implements driver.EventStream.
func (s *Stream) Close() error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.closed = true
	s.hub.streams = slices.DeleteFunc(s.hub.streams, func(o *Stream) bool { return o == s })
	s.signal()
	return nil
}
