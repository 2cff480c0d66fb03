package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

// do queues a change and returns when it is published, carried out by this
// caller or by another one.
func (s *Store) do(ctx context.Context, apply func(mvcc.State, time.Time) (mvcc.State, mvcc.Step, error)) (mvcc.State, error) {
	if err := s.usable(ctx); err != nil {
		return mvcc.State{}, err
	}
	r := &request{apply: apply, done: make(chan struct{})}
	if !s.enqueue(r) {
		return mvcc.State{}, store.ErrClosed
	}
	select {
	case <-r.done:
	case s.lead <- struct{}{}:
		s.serve()
		<-s.lead
		<-r.done // served just now, or by the leader before
	case <-ctx.Done():
		if s.withdraw(r) {
			return mvcc.State{}, ctx.Err()
		}
		return mvcc.State{}, fmt.Errorf("%w: it was being written: %w", store.ErrUnknownOutcome, ctx.Err())
	}
	return r.after, r.err
}

func (s *Store) enqueue(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return false
	}
	s.queue = append(s.queue, r)
	return true
}

// withdraw takes r back out of the queue; false when it is too late for that.
func (s *Store) withdraw(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.taken {
		return false
	}
	for i, q := range s.queue {
		if q == r {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			break
		}
	}
	return true
}

func (s *Store) take() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.queue
	s.queue = nil
	for _, r := range batch {
		r.taken = true
	}
	return batch
}

// serve carries out all that is queued, as one batch. Its caller is the leader.
// Each request sees what those before it in the batch did, nobody else sees any
// of it before all of it is persisted.
func (s *Store) serve() {
	if s.isClosed() {
		return
	}
	batch, now, before := s.take(), s.now(), *s.state.Load()
	state, steps := before.Expire(now)
	for _, r := range batch {
		var step mvcc.Step
		state, step, r.err = r.apply(state, now)
		r.after = state
		if step.Changes() {
			steps = append(steps, step)
		}
	}
	if err := s.persist(steps); err != nil {
		for _, r := range batch {
			r.after, r.err = before, err
		}
	} else {
		s.publish(&state, steps)
	}
	for _, r := range batch {
		close(r.done)
	}
}

// persist writes steps. Once it can't tell what the disk holds, it refuses
// everything, since what is in memory may no longer be what a restart would find.
func (s *Store) persist(steps []mvcc.Step) error {
	switch {
	case s.persister == nil || len(steps) == 0:
		return nil
	case s.failed != nil:
		return fmt.Errorf("store: read-only since an earlier write failed, open it again: %v", s.failed)
	}
	err := s.persister.Persist(steps)
	if errors.Is(err, store.ErrUnknownOutcome) {
		s.failed = err
	}
	return err
}

func (s *Store) publish(state *mvcc.State, steps []mvcc.Step) {
	s.hmu.Lock()
	defer s.hmu.Unlock()
	s.state.Store(state)
	for _, step := range steps {
		s.history.Add(step)
	}
	if len(steps) > 0 && s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// expire ends the sessions whose time is over, so the one reader that finds them
// writes that down; where a leader is at work, nobody waits for it. Reads do not
// fail with the disk either: a session whose end can't be written lives on, which
// its owner, who counts by Deadline, does not rely on.
func (s *Store) expire() {
	expiry := s.state.Load().Expiry()
	if expiry.IsZero() || s.now().Before(expiry) {
		return
	}
	select {
	case s.lead <- struct{}{}:
		s.serve()
		<-s.lead
	default:
	}
}
