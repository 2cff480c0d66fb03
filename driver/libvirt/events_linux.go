package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/shakenfist/cloud/driver"
)

// hub hands events to all streams. Its zero value is ready.
type hub struct {
	mu      sync.Mutex
	streams []*stream
	closed  bool
}

// stream keeps the latest event of each machine until it is asked for, so its
// memory is bounded by the number of machines, however slow its reader.
type stream struct {
	hub   *hub
	ready chan struct{} // holds a token while there is something to look at

	queue  []driver.Event // guarded by hub.mu, as is closed
	closed bool
}

// Events implements driver.Hypervisor. After each reconnection to libvirtd comes
// an event without an ID.
func (h *Hypervisor) Events(ctx context.Context) (driver.EventStream, error) {
	_, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	s := &stream{hub: &h.events, ready: make(chan struct{}, 1)}
	h.events.mu.Lock()
	defer h.events.mu.Unlock()
	s.closed = h.events.closed
	h.events.streams = append(h.events.streams, s)
	return s, nil
}

func (h *hub) publish(e driver.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.streams {
		s.queue = slices.DeleteFunc(s.queue, func(old driver.Event) bool { return old.ID == e.ID })
		s.queue = append(s.queue, e)
		s.signal()
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.streams {
		s.closed = true
		s.signal()
	}
}

func (s *stream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Next implements driver.EventStream.
func (s *stream) Next(ctx context.Context) (driver.Event, error) {
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

func (s *stream) take() (driver.Event, bool, error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if len(s.queue) > 0 {
		e := s.queue[0]
		s.queue = s.queue[1:]
		return e, true, nil
	}
	if s.closed {
		s.signal() // for the next Next
		return driver.Event{}, false, fmt.Errorf("libvirt: event stream: %w", fs.ErrClosed)
	}
	return driver.Event{}, false, nil
}

// Close implements driver.EventStream.
func (s *stream) Close() error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.closed = true
	s.hub.streams = slices.DeleteFunc(s.hub.streams, func(o *stream) bool { return o == s })
	s.signal()
	return nil
}
