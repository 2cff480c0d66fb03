package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

type session struct {
	s        *Store
	id       store.SessionID
	ttl      time.Duration
	mu       sync.Mutex
	deadline time.Time
}

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: session of %v", store.ErrInvalid, ttl)
	}
	sent := s.now()
	state, err := s.do(ctx, func(state mvcc.State, now time.Time) (mvcc.State, mvcc.Step, error) {
		state, step := state.Open(ttl, now)
		return state, step, nil
	})
	if err != nil {
		return nil, err
	}
	x := &session{s: s, id: state.LastSession, ttl: ttl}
	x.extend(sent)
	return x, nil
}

// ID implements store.Session.
func (x *session) ID() store.SessionID { return x.id }

// Renew implements store.Session.
func (x *session) Renew(ctx context.Context) error {
	sent := x.s.now()
	_, err := x.s.do(ctx, func(state mvcc.State, now time.Time) (mvcc.State, mvcc.Step, error) {
		state, err := state.Renew(x.id, now)
		return state, mvcc.Step{}, err
	})
	if err == nil {
		x.extend(sent)
	}
	return err
}

// extend moves the deadline to a tenth before the session's full time from sent on.
// One clock has no drift, but owners should meet the same margin on every store.
func (x *session) extend(sent time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d := sent.Add(x.ttl - x.ttl/10); d.After(x.deadline) {
		x.deadline = d
	}
}

// Deadline implements store.Session.
func (x *session) Deadline() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.deadline
}

// Close implements store.Session.
func (x *session) Close(ctx context.Context) error {
	_, err := x.s.do(ctx, func(state mvcc.State, _ time.Time) (mvcc.State, mvcc.Step, error) {
		state, step := state.End(x.id)
		return state, step, nil
	})
	return err
}
