package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
	"github.com/shakenfist/cloud/store/memory"
	"github.com/shakenfist/cloud/store/storetest"
)

func put(key string) store.Txn { return store.Txn{Do: []store.Op{store.Put(key, nil)}} }

// Without faults, the decorator is the store that it decorates.
func TestTransparent(t *testing.T) {
	var now atomic.Int64 // nanoseconds
	clock := func() time.Time { return time.Unix(1, now.Load()) }
	storetest.Run(t, storetest.Config{
		Open: func(t *testing.T) store.Store {
			s := faulty.New(memory.New(memory.Config{Now: clock}), faulty.Config{})
			t.Cleanup(func() { s.Close() })
			return s
		},
		Advance: func(_ store.Store, d time.Duration) { now.Add(int64(d)) },
		Now:     func(store.Store) time.Time { return clock() },
	})
}

// Each effect on each method: whether the call happened, and what its caller sees.
func TestEffects(t *testing.T) {
	for _, effect := range []faulty.Effect{faulty.None, faulty.Refuse, faulty.LoseRequest, faulty.LoseReply, faulty.Late} {
		happens := effect == faulty.None || effect == faulty.LoseReply
		for _, op := range []faulty.Op{faulty.Commit, faulty.Get, faulty.List, faulty.Watch, faulty.Next, faulty.Session, faulty.Renew, faulty.End, faulty.Compact} {
			t.Run(fmt.Sprint(op, effect), func(t *testing.T) {
				ctx := t.Context()
				inner := memory.New(memory.Config{})
				s := faulty.New(inner, faulty.Config{Decide: faulty.Nth(1, faulty.Fault{Effect: effect, Err: io.ErrUnexpectedEOF}, op)})
				errs := map[faulty.Op]error{}
				_, errs[faulty.Commit] = s.Commit(ctx, put("a"))
				_, getErr := inner.Get(ctx, "a")
				if op == faulty.Commit && happens != (getErr == nil) {
					t.Fatalf("the key is there: %v", getErr == nil)
				}
				inner.Commit(ctx, put("a"))
				_, errs[faulty.Get] = s.Get(ctx, "a")
				_, errs[faulty.List] = s.List(ctx, "", store.Page{})
				w, err := s.Watch(ctx, "", 0)
				if errs[faulty.Watch] = err; err == nil {
					_, errs[faulty.Next] = w.Next(ctx)
					if op == faulty.Next && err == nil {
						if b, err := w.Next(ctx); err != nil || len(b.Events) == 0 && effect != faulty.None {
							t.Errorf("a lost Next cost a batch: %v, %v", b, err)
						}
					}
				}
				x, err := s.Session(ctx, time.Hour)
				if errs[faulty.Session] = err; err == nil {
					before := x.Deadline()
					errs[faulty.Renew] = x.Renew(ctx)
					if op == faulty.Renew && effect != faulty.None && !x.Deadline().Equal(before) {
						t.Error("the owner's deadline moved without a reply")
					}
					errs[faulty.End] = x.Close(ctx)
					if _, err := inner.Commit(ctx, store.Txn{Do: []store.Op{store.PutIn(x.ID(), "x", nil)}}); op == faulty.End && happens != errors.Is(err, store.ErrSessionExpired) {
						t.Errorf("after closing: %v", err)
					}
				}
				errs[faulty.Compact] = s.Compact(ctx, 1)
				for o, err := range errs {
					wrong := o == op && effect != faulty.None
					if errors.Is(err, faulty.ErrInjected) != wrong || errors.Is(err, io.ErrUnexpectedEOF) != wrong || (!wrong && err != nil) {
						t.Errorf("%s: %v", o, err)
					}
					if unknown := wrong && op == faulty.Commit && effect != faulty.Refuse; errors.Is(err, store.ErrUnknownOutcome) != unknown {
						t.Errorf("%s: %v", o, err)
					}
				}
			})
		}
	}
}

// What a lost reply said stays hidden: its caller must not be able to act on it.
func TestLostReplyHidesConflict(t *testing.T) {
	s := faulty.New(memory.New(memory.Config{}), faulty.Config{Decide: faulty.Every(faulty.Fault{Effect: faulty.LoseReply}, faulty.Commit)})
	r, err := s.Commit(t.Context(), store.Txn{If: []store.Cond{store.Exists("none")}})
	if r != 0 || !errors.Is(err, store.ErrUnknownOutcome) || errors.Is(err, store.ErrConflict) {
		t.Fatal(r, err)
	}
	if _, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.Delete("")}}); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("a mistake of the caller got lost: %v", err)
	}
}

// A late commit happens the asked number of calls later, with the values it had.
func TestLate(t *testing.T) {
	for calls := range 4 {
		inner := memory.New(memory.Config{})
		s := faulty.New(inner, faulty.Config{Decide: faulty.Nth(1, faulty.Fault{Effect: faulty.Late, Calls: calls})})
		value := []byte("before")
		s.Commit(t.Context(), store.Txn{Do: []store.Op{store.Put("a", value)}})
		copy(value, "after!")
		for i := range 6 {
			r, err := s.Get(t.Context(), "a")
			if want := i >= calls; want != (err == nil) || (want && string(r.Value) != "before") {
				t.Errorf("%d calls late: after %d calls %q, %v", calls, i, r.Value, err)
			}
		}
		if s.Calls() != 7 {
			t.Errorf("%d calls", s.Calls())
		}
	}
}

// The same seed gives the same faults, another one others, and the rates are kept.
func TestSeeded(t *testing.T) {
	draw := func(seed uint64) (all []faulty.Fault) {
		decide := faulty.Seeded(seed, faulty.Rates{Refuse: .1, LoseRequest: .1, LoseReply: .2, Late: .1, Delay: .5, MaxDelay: time.Second, MaxLate: 3})
		for range 10_000 {
			all = append(all, decide(faulty.Call{}))
		}
		return all
	}
	a, b, c := draw(1), draw(1), draw(2)
	if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprint(a) == fmt.Sprint(c) {
		t.Fatal("seeds do not decide")
	}
	n, delays := map[faulty.Effect]int{}, 0
	for _, f := range a {
		n[f.Effect]++
		if f.Delay > 0 {
			delays++
		}
		if f.Delay > time.Second || f.Calls < 0 || f.Calls > 3 {
			t.Fatalf("out of bounds: %+v", f)
		}
	}
	n[100] = delays
	for e, want := range map[faulty.Effect]int{faulty.None: 5000, faulty.Refuse: 1000, faulty.LoseRequest: 1000, faulty.LoseReply: 2000, faulty.Late: 1000, 100: 5000} {
		if n[e] < want*9/10 || n[e] > want*11/10 {
			t.Errorf("effect %d came %d times, want about %d", e, n[e], want)
		}
	}
}

// Delays go through the caller's Sleep, and a call given up there did not happen.
func TestDelay(t *testing.T) {
	inner := memory.New(memory.Config{})
	var slept time.Duration
	var fail error
	s := faulty.New(inner, faulty.Config{
		Decide: faulty.Every(faulty.Fault{Delay: time.Second}),
		Sleep:  func(_ context.Context, d time.Duration) error { slept += d; return fail },
	})
	if _, err := s.Commit(t.Context(), put("a")); err != nil || slept != time.Second {
		t.Fatal(slept, err)
	}
	fail = context.Canceled
	if _, err := s.Commit(t.Context(), put("b")); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	if _, err := inner.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
}
