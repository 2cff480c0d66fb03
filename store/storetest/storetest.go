// Package storetest proves that an implementation of store.Store keeps the
// contract. Memory, bolt and etcd run the same cases; so can anybody's own:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Config{Open: open})
//	}
//
// Nothing is asserted about how fast things happen, only that they do: each case
// has a generous deadline, and where the contract leaves an implementation room
// (revisions may start anywhere, sessions may be rounded up, a watch that fell
// behind compaction may deliver everything or say ErrCompacted) so do the cases.
// One case asks for more than a lazy implementation gives: a watch has to tell in
// time that it has arrived at a revision, though nothing below its prefix changed.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
)

// Config says how to get at the stores under test.
type Config struct {
	// Open returns an empty store that nobody else writes to, open for the length
	// of the test at least. Required.
	Open func(t *testing.T) store.Store
	// Reopen closes s and opens what it wrote, as the next process would. Nil where
	// a store does not outlive its process; cases that need it are then skipped.
	Reopen func(t *testing.T, s store.Store) store.Store
	// Advance moves the clock of s. Nil where it lives by real time; cases that
	// need time to pass then wait for sessions of one second to end.
	Advance func(s store.Store, d time.Duration)
	// Now is the clock of s; nil is time.Now.
	Now func(s store.Store) time.Time
}

// patience ends a case that hangs. It is no measure of anything.
const patience = 60 * time.Second

// Run runs all cases, each on a store of its own.
func Run(t *testing.T, c Config) {
	t.Helper()
	for _, group := range [][]namedCase{keyCases, listCases, txnCases, watchCases, sessionCases, historyCases, lifeCases, concurrentCases, faultCases} {
		for _, nc := range group {
			t.Run(nc.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				nc.run(&kit{T: t, c: c, ctx: ctx, s: c.Open(t)})
			})
		}
	}
}

type namedCase struct {
	name string
	run  func(*kit)
}

// kit is a case under way: a test, its store, and helpers that fail the test.
type kit struct {
	*testing.T
	c   Config
	ctx context.Context
	s   store.Store
}

// ok fails the test at once because of an error that should not be.
func (t *kit) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// is fails the test when err is not want.
func (t *kit) is(err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// do commits operations that must succeed.
func (t *kit) do(ops ...store.Op) store.Revision {
	t.Helper()
	r, err := t.s.Commit(t.ctx, store.Txn{Do: ops})
	t.ok(err)
	return r
}

// put commits key with a value of the same text.
func (t *kit) put(keys ...string) (r store.Revision) {
	t.Helper()
	for _, k := range keys {
		r = t.do(store.Put(k, []byte(k)))
	}
	return r
}

func (t *kit) get(key string) store.Record {
	t.Helper()
	r, err := t.s.Get(t.ctx, key)
	t.ok(err)
	return r
}

func (t *kit) has(key string) bool {
	t.Helper()
	_, err := t.s.Get(t.ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get %q: %v", key, err)
	}
	return err == nil
}

func (t *kit) list(prefix string, p store.Page) store.List {
	t.Helper()
	l, err := t.s.List(t.ctx, prefix, p)
	t.ok(err)
	return l
}

// newest is the store's revision.
func (t *kit) newest() store.Revision {
	t.Helper()
	return t.list("no such prefix", store.Page{}).Revision
}

func keysOf(l store.List) []string {
	keys := make([]string, 0, len(l.Records))
	for _, r := range l.Records {
		keys = append(keys, r.Key)
	}
	return keys
}

// wantKeys fails the test when the keys below prefix are not these.
func (t *kit) wantKeys(prefix string, want ...string) {
	t.Helper()
	if got := keysOf(t.list(prefix, store.Page{})); !slices.Equal(got, want) {
		t.Fatalf("keys below %q are %q, want %q", prefix, got, want)
	}
}

func (t *kit) watch(prefix string, after store.Revision) store.Watcher {
	t.Helper()
	w, err := t.s.Watch(t.ctx, prefix, after)
	t.ok(err)
	t.Cleanup(func() { w.Close() })
	return w
}

// follower reads a watch and checks what holds for every watch: ascending
// revisions, whole batches, events of the batch's revision.
type follower struct {
	t    *kit
	w    store.Watcher
	last store.Revision
}

func (t *kit) follow(prefix string, after store.Revision) *follower {
	t.Helper()
	return &follower{t: t, w: t.watch(prefix, after), last: after}
}

// next returns the next batch, which may be a progress mark.
func (f *follower) next() store.Batch {
	f.t.Helper()
	b, err := f.w.Next(f.t.ctx)
	f.t.ok(err)
	f.check(b)
	return b
}

func (f *follower) check(b store.Batch) {
	f.t.Helper()
	// A mark may repeat a revision; changes never do.
	if b.Revision < f.last || (len(b.Events) > 0 && b.Revision == f.last) {
		f.t.Fatalf("batch of revision %d after one of %d", b.Revision, f.last)
	}
	f.last = b.Revision
	seen := map[string]bool{}
	for _, ev := range b.Events {
		if ev.Revision != b.Revision {
			f.t.Fatalf("event of revision %d in the batch of %d", ev.Revision, b.Revision)
		}
		if ev.Deleted && (ev.Value != nil || ev.Session != 0) {
			f.t.Fatalf("deletion of %q carries a value or a session", ev.Key)
		}
		if seen[ev.Key] {
			f.t.Fatalf("key %q twice in the batch of %d", ev.Key, b.Revision)
		}
		seen[ev.Key] = true
	}
}

// events returns the next batch that is not a mark.
func (f *follower) events() store.Batch {
	f.t.Helper()
	for {
		if b := f.next(); len(b.Events) > 0 {
			return b
		}
	}
}

// until returns all batches with events up to revision r.
func (f *follower) until(r store.Revision) (all []store.Batch) {
	f.t.Helper()
	for f.last < r {
		if b := f.next(); len(b.Events) > 0 {
			all = append(all, b)
		}
	}
	return all
}

// text renders a batch for comparing: "+key=value" and "-key", sorted.
func text(b store.Batch) string {
	var lines []string
	for _, ev := range b.Events {
		if ev.Deleted {
			lines = append(lines, "-"+ev.Key)
		} else {
			lines = append(lines, fmt.Sprintf("+%s=%s", ev.Key, ev.Value))
		}
	}
	slices.Sort(lines)
	return fmt.Sprint(lines)
}

func (f *follower) want(r store.Revision, events ...string) {
	f.t.Helper()
	b := f.events()
	slices.Sort(events)
	if got := text(b); got != fmt.Sprint(events) || b.Revision != r {
		f.t.Fatalf("batch %d %s, want %d %s", b.Revision, got, r, events)
	}
}
