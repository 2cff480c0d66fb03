package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
)

// patience ends a test that hangs. It is no measure of anything.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func put(t testing.TB, s store.Store, key string, value []byte) store.Revision {
	t.Helper()
	r, err := s.Commit(patience(t), store.Txn{Do: []store.Op{store.Put(key, value)}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newest(t testing.TB, s store.Store) store.Revision {
	t.Helper()
	l, err := s.List(patience(t), "", store.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return l.Revision
}

func watch(t testing.TB, s store.Store, prefix string, after store.Revision) store.Watcher {
	t.Helper()
	w, err := s.Watch(t.Context(), prefix, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// events returns the next batch that is not a mark.
func events(t testing.TB, w store.Watcher) store.Batch {
	t.Helper()
	for ctx := patience(t); ; {
		b, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Events) > 0 {
			return b
		}
	}
}

// each runs fn on a server of every release, all at once.
func each(t *testing.T, fn func(t *testing.T, v *server)) {
	inTurn(t, func(t *testing.T, release string) {
		t.Parallel()
		fn(t, start(t, release, "http"))
	})
}

func inTurn(t *testing.T, fn func(t *testing.T, release string)) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) { fn(t, release) })
	}
}

// Watches that nobody reads lose nothing, hold up nobody, and need little memory
// however much they have not read.
func TestSlowWatches(t *testing.T) {
	inTurn(t, func(t *testing.T, release string) { // since all the process's memory is measured
		v := start(t, release, "http")
		const slow, commits, size = 8, 600, 64 << 10
		s := mustOpen(t, v.config())
		start := newest(t, s)
		var lazy []store.Watcher
		for range slow {
			lazy = append(lazy, watch(t, s, "k", start))
		}
		quick := watch(t, s, "k", start)
		before := heap()
		var first store.Revision
		for i := range commits {
			r := put(t, s, fmt.Sprint("k", i%10), bytes.Repeat([]byte{byte(i)}, size))
			if b := events(t, quick); b.Revision != r {
				t.Fatalf("the watch that is read is at %d, want %d", b.Revision, r)
			}
			if i == 0 {
				first = r
			}
		}
		// Unread are 8 times 37 MB; a stream holds its window, and two responses.
		if grown := heap() - before; grown > slow*(streamWindow+2<<20)+(8<<20) {
			t.Errorf("%d unread watches grew memory by %d MB", slow, grown>>20)
		}
		for _, w := range lazy {
			for i := range commits {
				if b := events(t, w); b.Revision != first+store.Revision(i) || b.Events[0].Value[0] != byte(i) {
					t.Fatalf("change %d is %d, want %d", i, b.Revision, first+store.Revision(i))
				}
			}
		}
	})
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// One revision of many megabytes arrives whole, and so does a past of many more
// that comes in one answer.
func TestLargeRevisions(t *testing.T) {
	each(t, func(t *testing.T, v *server) {
		s := mustOpen(t, v.config())
		start := newest(t, s)
		const keys, perCommit = 6000, 100
		pad := strings.Repeat("p", 480)
		for i := 0; i < keys; i += perCommit {
			var txn store.Txn
			for j := range perCommit {
				txn.Do = append(txn.Do, store.Put(fmt.Sprintf("many/%s/%05d", pad, i+j), make([]byte, 1000)))
			}
			if _, err := s.Commit(patience(t), txn); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Commit(patience(t), store.Txn{Do: []store.Op{store.DeletePrefix("many/")}}); err != nil {
			t.Fatal(err)
		}
		w := watch(t, s, "many/", start)
		for i := range keys / perCommit {
			if b := events(t, w); len(b.Events) != perCommit || b.Revision != start+store.Revision(i+1) {
				t.Fatalf("commit %d came as %d events at %d", i, len(b.Events), b.Revision)
			}
		}
		if b := events(t, w); len(b.Events) != keys || !b.Events[0].Deleted {
			t.Fatalf("the deletion of %d keys came as %d events", keys, len(b.Events))
		}
	})
}

// A mark means that everything up to it was delivered, under load as well.
func TestMarksDoNotOvertake(t *testing.T) {
	each(t, func(t *testing.T, v *server) {
		const rounds = 400
		s := mustOpen(t, v.config())
		start := newest(t, s)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for i := range rounds {
					put(t, s, fmt.Sprintf("noise/%d", i%7), nil)
				}
			})
		}
		var want []store.Revision
		w := watch(t, s, "k", start)
		got := make(chan error, 1)
		go func() {
			last, n := store.Revision(0), 0
			for n < rounds {
				b, err := w.Next(patience(t))
				if err != nil {
					got <- err
					return
				}
				if b.Revision < last || len(b.Events) > 0 && b.Revision == last {
					got <- fmt.Errorf("%d events at %d after %d", len(b.Events), b.Revision, last)
					return
				}
				last = b.Revision
				n += len(b.Events)
			}
			got <- nil
		}()
		for range rounds {
			want = append(want, put(t, s, "k", nil))
		}
		wg.Wait()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		// It arrives at what was written elsewhere last, though that is not its own.
		for last := want[rounds-1]; last < newest(t, s); {
			b, err := w.Next(patience(t))
			if err != nil {
				t.Fatal(err)
			}
			last = b.Revision
		}
	})
}

// What another process commits elsewhere shows as a mark as well, by and by.
func TestMarkOfOthers(t *testing.T) {
	each(t, func(t *testing.T, v *server) {
		c := v.config()
		c.Timeout = 2 * time.Second
		s, other := mustOpen(t, c), mustOpen(t, c)
		w := watch(t, s, "mine/", newest(t, s))
		r := put(t, other, "other", nil)
		for {
			b, err := w.Next(patience(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Events) > 0 {
				t.Fatalf("events of others: %v", b)
			}
			if b.Revision >= r {
				return
			}
		}
	})
}

// The server is killed and comes back: watches go on where they were, sessions
// and their keys are still there, and what was acknowledged is.
func TestRestart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, v *server) {
		c := v.config()
		c.Timeout = time.Second // a commit to a dead server takes so long
		s := mustOpen(t, c)
		x, err := s.Session(patience(t), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		first := put(t, s, "k", []byte("0"))
		w := watch(t, s, "k", first)
		if _, err := s.Commit(patience(t), store.Txn{Do: []store.Op{store.PutIn(x.ID(), "mortal", nil)}}); err != nil {
			t.Fatal(err)
		}
		for round := 1; round <= 3; round++ {
			waiting := make(chan store.Batch)
			go func() { waiting <- events(t, w) }()
			v.kill()
			if _, err := s.Commit(patience(t), store.Txn{Do: []store.Op{store.Put("lost", nil)}}); err == nil {
				t.Fatal("a dead server has committed")
			}
			v.run(t)
			if !v.listens() {
				t.Fatalf("etcd does not start again: %s", v.log)
			}
			value := fmt.Sprint(round)
			r := retry(t, func(ctx context.Context) (store.Revision, error) {
				return s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", []byte(value))}})
			})
			for b := <-waiting; b.Revision != r; b = events(t, w) {
				if b.Revision > r {
					t.Fatalf("the watch is at %d and has not shown %d", b.Revision, r)
				}
			}
		}
		if err := x.Renew(patience(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(patience(t), "mortal"); err != nil {
			t.Fatal(err)
		}
	})
}

// retry repeats what a restart may have interrupted.
func retry[T any](t testing.TB, fn func(context.Context) (T, error)) T {
	t.Helper()
	for ctx := patience(t); ; {
		v, err := fn(ctx)
		if err == nil {
			return v
		}
		if ctx.Err() != nil || !errors.Is(err, ErrNoAnswer) && !errors.Is(err, store.ErrUnknownOutcome) {
			t.Fatal(err)
		}
	}
}

// A watch that is far behind when its past is compacted says so, for good.
func TestFarBehind(t *testing.T) {
	each(t, func(t *testing.T, v *server) {
		s := mustOpen(t, v.config())
		w := watch(t, s, "k", newest(t, s))
		for i := range 300 {
			put(t, s, "k", bytes.Repeat([]byte{byte(i)}, 64<<10))
		}
		if err := s.Compact(patience(t), newest(t, s)); err != nil {
			t.Fatal(err)
		}
		v.kill() // so that nothing is under way any more
		v.run(t)
		last := store.Revision(0)
		for {
			b, err := w.Next(patience(t))
			if err != nil {
				if !errors.Is(err, store.ErrCompacted) {
					t.Fatal(err)
				}
				_, err = w.Next(patience(t))
				if !errors.Is(err, store.ErrCompacted) {
					t.Fatalf("after the end: %v", err)
				}
				return
			}
			if last != 0 && b.Revision != last+1 {
				t.Fatalf("a gap: %d after %d", b.Revision, last)
			}
			last = b.Revision
		}
	})
}
