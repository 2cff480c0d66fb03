// Package faulty puts a bad network in front of a store.Store: calls that never
// arrive, replies that get lost, commits that happen long after their caller gave
// up. What goes wrong when is the decision of a function that sees each call, so
// that a run can be repeated from a seed, or a test can break the n-th call for every n.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
)

// ErrInjected is wrapped by every error that this package makes up, and so is
// store.ErrUnavailable: it is the network that fails.
var ErrInjected = errors.New("faulty: injected fault")

// Op names a method that can go wrong.
type Op string

// The methods of a store, its watchers and its sessions. Closing a store or a
// watcher is local and never goes wrong.
const (
	Get     Op = "get"
	List    Op = "list"
	Commit  Op = "commit"
	Watch   Op = "watch"
	Next    Op = "next"
	Session Op = "session"
	Renew   Op = "renew"
	End     Op = "end" // store.Session.Close
	Compact Op = "compact"
)

// Call is one call about to happen.
type Call struct {
	N   int       // counts all calls from 1
	Op  Op        // the method
	Key string    // the key or prefix, where there is one
	Txn store.Txn // of a Commit
}

// Effect is what goes wrong with a call.
type Effect uint8

const (
	// None lets the call happen.
	None Effect = iota
	// Refuse fails a call that does not happen, and the caller can be sure of that.
	Refuse
	// LoseRequest fails a call that does not happen. The caller cannot tell: a
	// Commit returns store.ErrUnknownOutcome.
	LoseRequest
	// LoseReply fails a call after it has happened. The caller cannot tell: a Commit
	// returns store.ErrUnknownOutcome, a new session is lost until it expires. A Next is
	// never lost like that (watches are resumed from what was delivered): it is
	// as if refused.
	LoseReply
	// Late fails a Commit like LoseRequest and carries it out before a later call,
	// as a server does that was slow rather than dead. Other calls are lost.
	Late
)

// Fault is the decision on one call. The zero Fault lets it happen at once.
type Fault struct {
	Effect Effect
	Delay  time.Duration // before the call, or before the failure
	Calls  int           // with Late: how many calls later; 0 is the next one
	Err    error         // wrapped by the failure besides ErrInjected; nil is fine
}

// Config of a Store. With the zero Config nothing goes wrong.
type Config struct {
	// Decide is asked before each call, one at a time; nil decides for no fault.
	Decide func(Call) Fault
	// Sleep waits for a Delay, or until ctx is done and returns its error; nil waits
	// in real time.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Store is a store.Store with faults.
type Store struct {
	inner store.Store
	c     Config

	mu    sync.Mutex // guards what follows, and orders calls of Decide
	calls int
	late  []lateTxn
}

type lateTxn struct {
	due int // the call before which it happens
	txn store.Txn
}

// New puts faults in front of s.
func New(s store.Store, c Config) *Store {
	if c.Decide == nil {
		c.Decide = func(Call) Fault { return Fault{} }
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	return &Store{inner: s, c: c}
}

// Unwrap returns the store without faults.
func (s *Store) Unwrap() store.Store { return s.inner }

// Calls returns how many calls there were.
func (s *Store) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Settle carries out all late commits now, whether they succeed or not.
func (s *Store) Settle(ctx context.Context) {
	s.mu.Lock()
	due := s.late
	s.late = nil
	s.mu.Unlock()
	s.carryOut(ctx, due)
}

// call asks what happens to a call, does it, and returns the error that its caller
// shall see. Only do changes anything; it is not called where the call gets lost.
func (s *Store) call(ctx context.Context, c Call, do func() error) error {
	fault, due := s.decide(&c)
	s.carryOut(context.WithoutCancel(ctx), due)
	if fault.Delay > 0 {
		if err := s.c.Sleep(ctx, fault.Delay); err != nil {
			return err
		}
	}
	switch fault.Effect {
	case None:
		return do()
	case LoseReply:
		if c.Op == Next {
			break
		}
		if err := do(); err != nil && !errors.Is(err, store.ErrUnknownOutcome) {
			return lost(c, fault, err)
		}
	case Late:
		if c.Op == Commit {
			s.hold(c, fault)
		}
	}
	return lost(c, fault, nil)
}

func (s *Store) decide(c *Call) (Fault, []lateTxn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	c.N = s.calls
	var due, rest []lateTxn
	for _, l := range s.late {
		if l.due <= c.N {
			due = append(due, l)
		} else {
			rest = append(rest, l)
		}
	}
	s.late = rest
	return s.c.Decide(*c), due
}

func (s *Store) hold(c Call, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, lateTxn{due: c.N + 1 + f.Calls, txn: c.Txn})
}

// carryOut drops the outcome, as the network did with the caller who wanted it.
func (s *Store) carryOut(ctx context.Context, due []lateTxn) {
	for _, l := range due {
		_, _ = s.inner.Commit(ctx, l.txn)
	}
}

// lost is the error of a call that failed by fault; hidden is the error that the
// caller would have seen. It stays out of the chain: a lost reply says nothing.
func lost(c Call, f Fault, hidden error) error {
	err := fmt.Errorf("%w: %w: call %d, %s %q", store.ErrUnavailable, ErrInjected, c.N, c.Op, c.Key)
	if hidden != nil {
		err = fmt.Errorf("%w (the lost reply was: %v)", err, hidden)
	}
	if f.Err != nil {
		err = fmt.Errorf("%w: %w", err, f.Err)
	}
	if c.Op == Commit && f.Effect != Refuse {
		err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
