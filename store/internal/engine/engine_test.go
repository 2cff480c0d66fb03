package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

// disk is a Persister that a test can watch, hold up and break.
type disk struct {
	mu      sync.Mutex
	batches [][]mvcc.Step
	during  func() // runs while a batch is written
	err     error
	closed  bool
}

func (d *disk) Persist(steps []mvcc.Step) error {
	if d.during != nil {
		d.during()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.batches = append(d.batches, steps)
	}
	return d.err
}

func (d *disk) Close() error {
	d.closed = true
	return nil
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func put(key string) store.Txn { return store.Txn{Do: []store.Op{store.Put(key, []byte(key))}} }

func exists(t *testing.T, s *Store, key string) bool {
	t.Helper()
	_, err := s.Get(t.Context(), key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func poll(t *testing.T, w store.Watcher) (store.Batch, error) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	return w.Next(done)
}

// Nobody sees a commit before it is persisted, and nobody waits for that but its
// caller: reads and watches go on.
func TestPersistBeforePublish(t *testing.T) {
	d := &disk{}
	s := New(mvcc.State{}, Config{Persister: d})
	w, err := s.Watch(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	looked := false
	d.during = func() {
		looked = true
		if exists(t, s, "a") {
			t.Error("a read sees what is not persisted")
		}
		if l, err := s.List(t.Context(), "", store.Page{}); err != nil || l.Revision != 0 {
			t.Errorf("a list sees revision %d, %v", l.Revision, err)
		}
		if b, err := poll(t, w); !errors.Is(err, context.Canceled) {
			t.Errorf("a watch sees %v, %v", b, err)
		}
	}
	if r, err := s.Commit(t.Context(), put("a")); r != 1 || err != nil {
		t.Fatal(r, err)
	}
	if b, err := poll(t, w); err != nil || b.Revision != 1 || len(b.Events) != 1 || !looked || !exists(t, s, "a") {
		t.Fatalf("after the commit the watch has %v, %v", b, err)
	}
}

// Commits that arrive while one is being written share the next write, in which
// each sees what those before it did.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		d := &disk{}
		writing, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		d.during = func() { once.Do(func() { close(writing); <-release }) }
		s := New(mvcc.State{}, Config{Persister: d})
		go s.Commit(t.Context(), put("first"))
		<-writing
		var won, lost int
		var mu sync.Mutex
		for i := range n {
			go func() {
				_, err := s.Commit(t.Context(), store.Txn{
					If: []store.Cond{store.Absent("claim")},
					Do: []store.Op{store.Put("claim", []byte{byte(i)})},
				})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if errors.Is(err, store.ErrConflict) {
					lost++
				}
			}()
			go s.Commit(t.Context(), put(fmt.Sprint("k", i)))
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		if len(d.batches) != 2 || len(d.batches[1]) != n+1 || won != 1 || lost != n-1 {
			t.Fatalf("%d batches, %d won, %d lost", len(d.batches), won, lost)
		}
		if l, err := s.List(t.Context(), "", store.Page{}); err != nil || l.Revision != n+2 || len(l.Records) != n+2 {
			t.Fatalf("%d keys at %d, %v", len(l.Records), l.Revision, err)
		}
	})
}

// A write that surely failed leaves no trace, and the next one works.
func TestPersistFails(t *testing.T) {
	d := &disk{}
	s := New(mvcc.State{}, Config{Persister: d})
	d.fail(io.ErrShortWrite)
	if _, err := s.Commit(t.Context(), put("a")); !errors.Is(err, io.ErrShortWrite) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatalf("error is %v", err)
	}
	if exists(t, s, "a") {
		t.Fatal("the failed commit is there")
	}
	d.fail(nil)
	if r, err := s.Commit(t.Context(), put("b")); r != 1 || err != nil {
		t.Fatal(r, err)
	}
}

// A write that may have failed stops all others: what would they build on? Reads,
// checks and renewals go on.
func TestPersistUnknown(t *testing.T) {
	d := &disk{}
	s := New(mvcc.State{}, Config{Persister: d})
	x, err := s.Session(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	d.fail(fmt.Errorf("%w: no idea", store.ErrUnknownOutcome))
	if _, err := s.Commit(t.Context(), put("a")); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatalf("error is %v", err)
	}
	d.fail(nil)
	if _, err := s.Commit(t.Context(), put("b")); err == nil || errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatalf("error is %v", err)
	}
	if exists(t, s, "a") || exists(t, s, "b") {
		t.Fatal("a failed commit is there")
	}
	if _, err := s.Commit(t.Context(), store.Txn{If: []store.Cond{store.Absent("a")}}); err != nil {
		t.Fatal(err)
	}
	if err := x.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A commit given up in the queue never happens; one given up while it is written
// can't know.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		writing, release := make(chan struct{}), make(chan struct{})
		d.during = func() { writing <- struct{}{}; <-release }
		s := New(mvcc.State{}, Config{Persister: d})
		commit := func(ctx context.Context, key string) <-chan error {
			got := make(chan error, 1)
			go func() {
				_, err := s.Commit(ctx, put(key))
				got <- err
			}()
			return got
		}
		leader := commit(t.Context(), "leader")
		<-writing
		ctx, cancel := context.WithCancel(t.Context())
		queued, stays := commit(ctx, "queued"), commit(t.Context(), "stays")
		synctest.Wait()
		cancel()
		if err := <-queued; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknownOutcome) {
			t.Fatalf("given up in the queue: %v", err)
		}
		release <- struct{}{}
		<-writing // "stays" leads
		ctx, cancel = context.WithCancel(t.Context())
		one, two := commit(ctx, "one"), commit(ctx, "two")
		synctest.Wait()
		release <- struct{}{}
		<-writing // one of the two leads, and the other is in its batch
		cancel()
		release <- struct{}{}
		unknown := 0
		for _, err := range []error{<-one, <-two} {
			if errors.Is(err, store.ErrUnknownOutcome) && errors.Is(err, context.Canceled) {
				unknown++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(<-leader, <-stays); err != nil || unknown > 1 {
			t.Fatalf("%v, %d unknown", err, unknown)
		}
		synctest.Wait()
		for _, key := range []string{"leader", "stays", "one", "two"} {
			if !exists(t, s, key) {
				t.Errorf("%s is missing", key)
			}
		}
		if exists(t, s, "queued") {
			t.Error("what was given up in the queue happened")
		}
	})
}

// Closing fails those in the queue, lets the one being written finish, and
// closes the persister once.
func TestCloseWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		writing, release := make(chan struct{}), make(chan struct{})
		d.during = func() { close(writing); <-release }
		s := New(mvcc.State{}, Config{Persister: d})
		got := make(chan error, 2)
		go func() { _, err := s.Commit(t.Context(), put("a")); got <- err }()
		<-writing
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		if d.closed {
			t.Fatal("closed under a write")
		}
		close(release)
		if err := errors.Join(<-got, <-closed, s.Close()); err != nil || !d.closed || len(d.batches) != 1 {
			t.Fatalf("%v, closed: %v, %d batches", err, d.closed, len(d.batches))
		}
		if _, err := s.Commit(t.Context(), put("b")); !errors.Is(err, store.ErrClosed) {
			t.Fatal(err)
		}
	})
}
