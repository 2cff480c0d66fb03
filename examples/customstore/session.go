package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/store"
)

// session is a lease of a LogStore, whose mutex guards it.
type session struct {
	s    *LogStore
	id   store.SessionID
	ttl  time.Duration
	ends time.Time
}

// Session implements store.Store.
func (s *LogStore) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: session of %v", store.ErrInvalid, ttl)
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	s.last++
	x := &session{s: s, id: s.last, ttl: ttl, ends: time.Now().Add(ttl)}
	s.sessions[x.id] = x
	return x, nil
}

// expire ends the sessions whose time is over.
func (s *LogStore) expire() {
	for _, x := range s.sessions {
		if !time.Now().Before(x.ends) {
			s.end(x)
		}
	}
}

// end deletes a session with its keys.
func (s *LogStore) end(x *session) {
	if s.sessions[x.id] != x {
		return
	}
	delete(s.sessions, x.id)
	var events []store.Event
	for key, r := range s.now {
		if r.Session == x.id {
			events = append(events, store.Event{Record: store.Record{Key: key}, Deleted: true})
		}
	}
	s.append(events)
}

// ID implements store.Session.
func (x *session) ID() store.SessionID { return x.id }

// Renew implements store.Session.
func (x *session) Renew(ctx context.Context) error {
	if err := x.s.enter(ctx); err != nil {
		return err
	}
	defer x.s.mu.Unlock()
	if x.s.sessions[x.id] != x {
		return store.ErrSessionExpired
	}
	x.ends = time.Now().Add(x.ttl)
	return nil
}

// Deadline implements store.Session. There is one clock, but a margin all the same.
func (x *session) Deadline() time.Time {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return x.ends.Add(-x.ttl / 10)
}

// Close implements store.Session.
func (x *session) Close(ctx context.Context) error {
	if err := x.s.enter(ctx); err != nil {
		return err
	}
	defer x.s.mu.Unlock()
	x.s.end(x)
	return nil
}
