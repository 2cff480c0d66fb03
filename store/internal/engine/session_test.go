package engine

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

func open(t *testing.T, s *Store, ttl time.Duration, key string) store.Session {
	t.Helper()
	x, err := s.Session(t.Context(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.PutIn(x.ID(), key, nil)}}); err != nil {
		t.Fatal(err)
	}
	return x
}

// A waiting watch ends sessions at their deadline, to the instant, also one that
// was opened after the watch began to wait, with an earlier deadline.
func TestWatchEndsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(mvcc.State{}, Config{})
		start := time.Now()
		open(t, s, 10*time.Second, "long")
		w, err := s.Watch(t.Context(), "", 1)
		if err != nil {
			t.Fatal(err)
		}
		type gone struct {
			key string
			at  time.Duration
		}
		seen := make(chan gone, 10)
		go func() {
			for {
				b, err := w.Next(t.Context())
				if err != nil {
					close(seen)
					return
				}
				for _, ev := range b.Events {
					if ev.Deleted {
						seen <- gone{ev.Key, time.Since(start)}
					}
				}
			}
		}()
		synctest.Wait()
		x := open(t, s, 3*time.Second, "short")
		time.Sleep(2 * time.Second)
		if err := x.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []gone{{"short", 5 * time.Second}, {"long", 10 * time.Second}} {
			if got := <-seen; got != want {
				t.Fatalf("%q went at %v, want %q at %v", got.key, got.at, want.key, want.at)
			}
		}
		s.Close()
		<-seen
	})
}

// The deadline that a session's owner goes by is before the one that the store goes by.
func TestDeadlineHasAMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(mvcc.State{}, Config{})
		x := open(t, s, 10*time.Second, "k")
		if d := time.Until(x.Deadline()); d != 9*time.Second {
			t.Fatalf("the owner has %v", d)
		}
		time.Sleep(10*time.Second - 1)
		if !exists(t, s, "k") {
			t.Fatal("the key went early")
		}
		time.Sleep(time.Nanosecond)
		if exists(t, s, "k") {
			t.Fatal("the key is still there")
		}
	})
}

// While the disk refuses, a session whose time is over stays visible, reads and
// watches go on, and the end comes when the disk is well.
func TestExpiryWhileDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		s := New(mvcc.State{}, Config{Persister: d})
		x := open(t, s, time.Second, "k")
		d.fail(io.ErrShortWrite)
		time.Sleep(2 * time.Second)
		if !exists(t, s, "k") {
			t.Fatal("what can't be written was shown")
		}
		w, err := s.Watch(t.Context(), "", 1)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { d.fail(nil) })
		b, err := w.Next(t.Context())
		if err != nil || len(b.Events) != 1 || !b.Events[0].Deleted {
			t.Fatalf("got %v, %v", b, err)
		}
		if err := x.Renew(t.Context()); !errors.Is(err, store.ErrSessionExpired) {
			t.Fatal(err)
		}
	})
}

// Reads don't wait for the disk, even when a session's end is due.
func TestExpiryDoesNotHoldUpReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		s := New(mvcc.State{}, Config{Persister: d})
		open(t, s, time.Second, "k")
		writing, release := make(chan struct{}), make(chan struct{})
		d.during = func() { close(writing); <-release }
		done := make(chan error)
		go func() { _, err := s.Commit(t.Context(), put("a")); done <- err }()
		<-writing
		time.Sleep(2 * time.Second)
		exists(t, s, "k") // a deadlock here fails the test
		d.during = nil
		close(release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if exists(t, s, "k") {
			t.Fatal("the key is still there")
		}
	})
}

// Sessions that are over end in the order of their deadlines, so that a run with
// a clock of its own always gives the same revisions.
func TestExpiryOrder(t *testing.T) {
	now := time.Unix(0, 0)
	s := New(mvcc.State{}, Config{Now: func() time.Time { return now }})
	open(t, s, 3*time.Second, "third")
	open(t, s, 1*time.Second, "first")
	open(t, s, 2*time.Second, "second")
	open(t, s, 2*time.Second, "second too")
	now = now.Add(time.Hour)
	w, err := s.Watch(t.Context(), "", 4)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"first", "second", "second too", "third"} {
		b, err := poll(t, w)
		if err != nil || b.Revision != store.Revision(5+i) || len(b.Events) != 1 || b.Events[0].Key != want {
			t.Fatalf("%d: %v, %v", i, b, err)
		}
	}
	if b, err := poll(t, w); !errors.Is(err, context.Canceled) {
		t.Fatal(b, err)
	}
}
