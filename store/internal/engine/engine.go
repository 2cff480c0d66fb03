// Package engine is the shell around package mvcc: it makes a state into a
// store.Store, with locks, blocking watches and, where there is a Persister,
// durability before visibility.
//
// It starts no goroutine. Commits that arrive together are carried out by one of
// their callers, the leader, and persisted as one batch; a lone commit leads
// itself at once. Readers take the last published state and never wait for a
// leader. Sessions end when any call finds their time over; a watch that waits
// looks when the next deadline has come.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

// Bounds of the history where a Config leaves them zero.
const (
	DefaultRevisions = 10_000
	DefaultBytes     = 64 << 20
)

// retryExpiry is how long a waiting watch rests when sessions are due, but
// could not be ended because the leader is busy or the disk refuses.
const retryExpiry = 100 * time.Millisecond

// Persister makes steps durable.
type Persister interface {
	// Persist writes steps, all or nothing. Its error wraps store.ErrUnknownOutcome
	// when it cannot tell which; any other error says that nothing was written.
	Persist(steps []mvcc.Step) error
	Close() error
}

// Config of a Store.
type Config struct {
	Now       func() time.Time // nil is time.Now
	Revisions int              // of history; 0 is DefaultRevisions
	Bytes     int              // of history; 0 is DefaultBytes
	Persister Persister        // nil keeps everything in memory
}

// Store is a store.Store over a state.
type Store struct {
	now       func() time.Time
	persister Persister
	state     atomic.Pointer[mvcc.State] // the published one; stored by the leader only
	closed    chan struct{}

	lead   chan struct{} // holds a token while there is a leader
	failed error         // the leader's: why nothing can be persisted any more

	mu    sync.Mutex // guards queue, its requests' taken, and the closing of closed
	queue []*request

	hmu     sync.RWMutex // guards history and wake
	history mvcc.History
	wake    chan struct{} // closed at the next publication; nil while nobody waits
}

// request is one call in the queue.
type request struct {
	apply func(mvcc.State, time.Time) (mvcc.State, mvcc.Step, error)
	taken bool          // a leader is at it: too late to withdraw
	done  chan struct{} // closed when after and err are set
	after mvcc.State
	err   error
}

// New returns a store that goes on from state.
func New(state mvcc.State, c Config) *Store {
	s := &Store{
		now: c.Now, persister: c.Persister,
		closed: make(chan struct{}), lead: make(chan struct{}, 1),
		history: mvcc.History{MaxRevisions: c.Revisions, MaxBytes: c.Bytes},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.history.MaxRevisions <= 0 {
		s.history.MaxRevisions = DefaultRevisions
	}
	if s.history.MaxBytes <= 0 {
		s.history.MaxBytes = DefaultBytes
	}
	s.state.Store(&state)
	s.history.Start(state.Snapshot)
	return s
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	state, err := s.read(ctx)
	if err != nil {
		return store.Record{}, err
	}
	r, ok := state.Get(key)
	if !ok {
		return store.Record{}, fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	return r, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	state, err := s.read(ctx)
	if err != nil {
		return store.List{}, err
	}
	snapshot := state.Snapshot
	if page.At != 0 && page.At != snapshot.Revision {
		s.hmu.RLock()
		snapshot, err = s.history.At(page.At)
		s.hmu.RUnlock()
		if err != nil {
			return store.List{}, fmt.Errorf("list %q: %w", prefix, err)
		}
	}
	return snapshot.List(prefix, page), nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	own := cloned(txn)
	after, err := s.do(ctx, func(state mvcc.State, _ time.Time) (mvcc.State, mvcc.Step, error) {
		return state.Commit(own)
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return 0, err
	}
	return after.Revision, err
}

// cloned copies what the caller may change once Commit has returned, which it
// may do before the leader is through.
func cloned(txn store.Txn) store.Txn {
	txn.If, txn.Do = slices.Clone(txn.If), slices.Clone(txn.Do)
	for i := range txn.Do {
		txn.Do[i].Value = bytes.Clone(txn.Do[i].Value)
	}
	return txn
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, r store.Revision) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.hmu.Lock()
	defer s.hmu.Unlock()
	if err := s.history.Compact(r); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// Close implements store.Store. Closing twice is nil.
func (s *Store) Close() error {
	s.lead <- struct{}{} // waits for the batch under way
	defer func() { <-s.lead }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return nil
	}
	close(s.closed)
	for _, r := range s.queue {
		r.err = store.ErrClosed
		close(r.done)
	}
	s.queue = nil
	if s.persister == nil {
		return nil
	}
	return s.persister.Close()
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *Store) usable(ctx context.Context) error {
	if s.isClosed() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// read returns the newest state, without the sessions whose time is over.
func (s *Store) read(ctx context.Context) (*mvcc.State, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.expire()
	return s.state.Load(), nil
}
