package fake

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/shakenfist/cloud/driver"
)

// stream keeps the latest event of each machine until it is asked for, so that
// its memory is bounded by the number of machines. The Host's lock guards it.
type stream struct {
	owner  *Hypervisor
	queue  []driver.Event
	ready  chan struct{} // holds a token while there is something to look at
	closed bool
}

// Events implements driver.Hypervisor.
func (v *Hypervisor) Events(ctx context.Context) (driver.EventStream, error) {
	s := &stream{owner: v, ready: make(chan struct{}, 1)}
	err := v.do(ctx, "Events", "", func(h *Host) error {
		h.streams = append(h.streams, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// publish hands an event to all streams; the Host's lock is held.
func (h *Host) publish(e driver.Event) {
	for _, s := range h.streams {
		s.queue = slices.DeleteFunc(s.queue, func(old driver.Event) bool { return old.ID == e.ID })
		s.queue = append(s.queue, e)
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
	s.owner.host.mu.Lock()
	defer s.owner.host.mu.Unlock()
	if len(s.queue) > 0 {
		e := s.queue[0]
		s.queue = s.queue[1:]
		return e, true, nil
	}
	if s.closed {
		s.signal() // another Next may wait
		return driver.Event{}, false, fmt.Errorf("fake: event stream: %w", fs.ErrClosed)
	}
	return driver.Event{}, false, nil
}

// Close implements driver.EventStream.
func (s *stream) Close() error {
	h := s.owner.host
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams = slices.DeleteFunc(h.streams, func(o *stream) bool { return o == s })
	s.end()
	return nil
}

func (s *stream) end() {
	s.closed = true
	s.signal()
}
