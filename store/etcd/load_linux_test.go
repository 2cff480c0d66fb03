package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
)

// load is work on a cluster that goes on while members fail, and the bookkeeping
// that tells afterwards whether the store kept its word:
//
//   - what was acknowledged is there, at the revision that was told, and once;
//   - what was refused for certain is not there;
//   - no call sees the past of what had been acknowledged when it began;
//   - watches arrive at what lists show, without a gap, or end with ErrCompacted;
//   - nobody gets what a session protects before its owner's deadline.
type load struct {
	t             testing.TB
	c             *cluster
	ctx           context.Context // of the test: ends it when it hangs
	work, watches sync.WaitGroup
	stop          chan struct{}
	final         store.Revision // where watches end; set when stopped is closed
	ended         chan struct{}
	high          atomic.Int64              // the newest revision that anybody was told of
	chains        [writers]atomic.Int64     // the same of each writer's own key
	relist        atomic.Int64              // watches that ended with ErrCompacted and began anew
	lost          atomic.Int64              // commits whose outcome was unknown
	mu            sync.Mutex                // guards the following
	there         map[string]store.Revision // what was acknowledged
	never         map[string]bool           // what was refused
	acks          [writers]int
	tick          chan struct{} // closed and made anew with each acknowledgement
	lock          struct {
		owner int
		until time.Time // that its owner may believe to have it
		times int       // that it was had
	}
}

const writers = 3

func startLoad(t testing.TB, c *cluster, earlyEnds bool) *load {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	l := &load{
		t: t, c: c, ctx: ctx, stop: make(chan struct{}), ended: make(chan struct{}), tick: make(chan struct{}),
		there: map[string]store.Revision{}, never: map[string]bool{},
	}
	for i := range writers {
		s := mustOpen(t, c.config())
		l.work.Go(func() { l.write(i, s) })
		l.work.Go(func() { l.read(s) })
	}
	for i := range 2 {
		s := mustOpen(t, c.config())
		l.work.Go(func() { l.contend(i+1, s, earlyEnds) })
	}
	for range 2 {
		s := mustOpen(t, c.config())
		l.watches.Go(func() { l.follow(s) })
	}
	s := mustOpen(t, c.config())
	l.work.Go(func() { l.compact(s) })
	t.Cleanup(func() { // where the test failed before its end
		cancel()
		l.work.Wait()
		l.watches.Wait()
	})
	return l
}

// running is whether to go on; an error of the test ends everything.
func (l *load) running() bool {
	select {
	case <-l.stop:
		return false
	default:
		return l.ctx.Err() == nil && !l.t.Failed()
	}
}

// told notes that somebody was told of a revision.
func told(a *atomic.Int64, r store.Revision) {
	for old := a.Load(); int64(r) > old && !a.CompareAndSwap(old, int64(r)); old = a.Load() {
	}
}

// write commits one new key after the other, each with the next link of a chain.
func (l *load) write(me int, s store.Store) {
	link := fmt.Sprint("chain/", me)
	var last store.Revision
	for n := 0; l.running(); n++ {
		key := fmt.Sprintf("e/%d/%06d", me, n)
		txn := store.Txn{
			If: []store.Cond{store.Absent(key), store.Absent(link)},
			Do: []store.Op{store.Put(key, []byte(link)), store.Put(link, []byte(key))},
		}
		if last != 0 {
			txn.If[1] = store.RevisionIs(link, last)
		}
		r, err := l.insist(s, key, txn)
		if err != nil {
			l.mu.Lock()
			l.never[key] = true
			l.mu.Unlock()
			continue
		}
		if r == 0 {
			return // the test ended
		}
		last = r
		told(&l.high, r)
		told(&l.chains[me], r)
		l.mu.Lock()
		l.there[key] = r
		l.acks[me]++
		close(l.tick)
		l.tick = make(chan struct{})
		l.mu.Unlock()
	}
}

// insist commits txn, which writes key, until it is clear what became of it. An error says
// that it has not happened and never will.
func (l *load) insist(s store.Store, key string, txn store.Txn) (store.Revision, error) {
	unknown := false
	for l.ctx.Err() == nil {
		before := l.high.Load()
		r, err := s.Commit(context.Background(), txn)
		switch {
		case err == nil && int64(r) <= before:
			l.t.Errorf("%s was committed at %d after %d was acknowledged", key, r, before)
			return 0, nil
		case err == nil:
			return r, nil
		case errors.Is(err, store.ErrUnknownOutcome):
			unknown = true
			l.lost.Add(1)
		case errors.Is(err, store.ErrConflict) && unknown:
			return l.find(s, key), nil
		case errors.Is(err, ErrNoAnswer) && !unknown:
			return 0, err
		case errors.Is(err, ErrNoAnswer):
		default:
			l.t.Errorf("commit %s: %v", key, err)
			return 0, nil
		}
	}
	return 0, nil
}

// find returns the revision of a key that must be there.
func (l *load) find(s store.Store, key string) store.Revision {
	for l.ctx.Err() == nil {
		r, err := s.Get(context.Background(), key)
		if err == nil {
			return r.Revision
		}
		if !errors.Is(err, ErrNoAnswer) {
			l.t.Errorf("the conditions of %s changed, and not by it: %v", key, err)
			return 0
		}
	}
	return 0
}

// read holds that nothing acknowledged is missing from what is read later.
func (l *load) read(s store.Store) {
	for i := 0; l.running(); i++ {
		chain := &l.chains[i%writers]
		before, link := l.high.Load(), chain.Load()
		list, err := s.List(context.Background(), "e/", store.Page{Limit: 1})
		if err == nil && int64(list.Revision) < before {
			l.t.Errorf("a list is of %d after %d was acknowledged", list.Revision, before)
		}
		r, err2 := s.Get(context.Background(), fmt.Sprint("chain/", i%writers))
		if err2 == nil && int64(r.Revision) < link {
			l.t.Errorf("a key is of %d after %d was acknowledged", r.Revision, link)
		}
		for _, err := range []error{err, err2} {
			if err != nil && !errors.Is(err, ErrNoAnswer) && !(errors.Is(err, store.ErrNotFound) && link == 0) {
				l.t.Errorf("read: %v", err)
			}
		}
	}
}

// contend holds that a lock is nobody else's before its owner's deadline. earlyEnds
// allows that etcd ends sessions early, as long as it says so.
func (l *load) contend(me int, s store.Store, earlyEnds bool) {
	for l.running() {
		x, err := s.Session(context.Background(), 2*time.Second)
		if err != nil {
			continue // no answer
		}
		if l.acquire(me, s, x) {
			l.hold(me, x, earlyEnds)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		x.Close(ctx) // else it ends by itself
		cancel()
		pause(l.ctx, 50*time.Millisecond)
	}
}

func (l *load) acquire(me int, s store.Store, x store.Session) bool {
	txn := store.Txn{If: []store.Cond{store.Absent("lock")}, Do: []store.Op{store.PutIn(x.ID(), "lock", []byte(fmt.Sprint(me)))}}
	if _, err := s.Commit(context.Background(), txn); err != nil {
		return false // or it is unknown, and ends with the session
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Before(l.lock.until) {
		l.t.Errorf("contender %d got the lock %v before the deadline of %d", me, l.lock.until.Sub(now), l.lock.owner)
	}
	l.lock.owner, l.lock.until = me, x.Deadline()
	l.lock.times++
	return true
}

// hold renews until the session is lost, or now and then by itself stops.
func (l *load) hold(me int, x store.Session, earlyEnds bool) {
	for range 8 {
		pause(l.ctx, 250*time.Millisecond)
		err := x.Renew(context.Background())
		l.mu.Lock()
		lost := errors.Is(err, store.ErrSessionExpired)
		if lost && time.Now().Before(x.Deadline()) {
			if !earlyEnds {
				l.t.Errorf("a session ended %v before its deadline", time.Until(x.Deadline()))
			}
			l.lock.until = time.Time{}
		} else if !lost && l.lock.owner == me {
			l.lock.until = x.Deadline()
		}
		l.mu.Unlock()
		if lost {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock.owner == me {
		l.lock.until = time.Time{} // given back, as its owner knows before anybody else can
	}
}

// compact keeps the history short, so that who falls behind has to begin anew.
func (l *load) compact(s store.Store) {
	for l.running() {
		pause(l.ctx, 100*time.Millisecond)
		if r := store.Revision(l.high.Load()) - 20; r > 0 {
			if err := s.Compact(context.Background(), r); err != nil && !errors.Is(err, ErrNoAnswer) {
				l.t.Errorf("compact: %v", err)
			}
		}
	}
}

// follow watches "e/" until the load has ended, and holds that it arrives at what is there.
func (l *load) follow(s store.Store) {
	have := map[string]store.Revision{}
	var w store.Watcher
	var last store.Revision
	begin := func() {
		if w != nil {
			w.Close()
		}
		list := l.list(s, store.Page{})
		clear(have)
		for _, r := range list.Records {
			have[r.Key] = r.Revision
		}
		var err error
		if w, err = s.Watch(context.Background(), "e/", list.Revision); err != nil {
			l.t.Error(err)
		}
		last = list.Revision
	}
	begin()
	for {
		select {
		case <-l.ended:
			if last >= l.final {
				w.Close()
				l.arrived(s, have, last)
				return
			}
		default:
		}
		ctx, cancel := context.WithTimeout(l.ctx, 100*time.Millisecond)
		b, err := w.Next(ctx)
		cancel()
		switch {
		case errors.Is(err, store.ErrCompacted):
			l.relist.Add(1)
			begin()
			continue
		case err != nil && l.ctx.Err() != nil:
			l.t.Errorf("a watch hangs at %d, the end is %d", last, l.final)
			return
		case errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			l.t.Errorf("watch: %v", err)
			return
		case b.Revision < last, b.Revision == last && len(b.Events) > 0:
			l.t.Errorf("%d events of %d after %d", len(b.Events), b.Revision, last)
		}
		last = b.Revision
		for _, ev := range b.Events {
			if was, twice := have[ev.Key]; twice || ev.Deleted {
				l.t.Errorf("%s came at %d and again at %d", ev.Key, was, ev.Revision)
			}
			have[ev.Key] = ev.Revision
		}
	}
}

func (l *load) arrived(s store.Store, have map[string]store.Revision, at store.Revision) {
	list := l.list(s, store.Page{At: at})
	want := map[string]store.Revision{}
	for _, r := range list.Records {
		want[r.Key] = r.Revision
	}
	if !maps.Equal(have, want) {
		l.t.Errorf("at %d a watch arrived at %d keys, there are %d", at, len(have), len(want))
	}
}

// progress waits until every writer was acknowledged n more commits.
func (l *load) progress(n int) {
	l.t.Helper()
	l.mu.Lock()
	goal := l.acks
	l.mu.Unlock()
	for i := range goal {
		goal[i] += n
	}
	for {
		l.mu.Lock()
		acks, tick := l.acks, l.tick
		l.mu.Unlock()
		if !slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return acks[i] < goal[i] }) {
			return
		}
		select {
		case <-tick:
		case <-l.ctx.Done():
			l.t.Fatalf("no progress: %v of %v", acks, goal)
		case <-time.After(time.Second):
			if l.t.Failed() {
				l.t.FailNow()
			}
		}
	}
}

// end stops the load and holds what is there against what was told.
func (l *load) end(s store.Store) {
	l.t.Helper()
	close(l.stop)
	l.work.Wait()
	list := l.list(s, store.Page{})
	l.final = list.Revision
	close(l.ended)
	l.watches.Wait()
	is := map[string]store.Revision{}
	for _, r := range list.Records {
		is[r.Key] = r.Revision
		if l.never[r.Key] {
			l.t.Errorf("%s was refused, and is there", r.Key)
		}
	}
	for key, r := range l.there {
		if is[key] != r {
			l.t.Errorf("%s was acknowledged at %d, and is of %d (0: gone)", key, r, is[key])
		}
	}
	l.t.Logf("%d commits, %d refused, %d outcomes unknown, the lock was had %d times, %d watches began anew",
		len(l.there), len(l.never), l.lost.Load(), l.lock.times, l.relist.Load())
	if l.lock.times == 0 {
		l.t.Error("nobody ever got the lock")
	}
}

// list lists "e/", however long that takes.
func (l *load) list(s store.Store, page store.Page) store.List {
	for {
		list, err := s.List(context.Background(), "e/", page)
		if err == nil {
			return list
		}
		if l.ctx.Err() != nil || !errors.Is(err, ErrNoAnswer) {
			l.t.Errorf("list: %v", err)
			return list
		}
	}
}
