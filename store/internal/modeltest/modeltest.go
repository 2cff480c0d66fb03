package modeltest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shakenfist/cloud/store"
)

// Config says how to get at the stores under test. They must be deterministic:
// live by the given clock, end a session at its instant, start at revision 0.
type Config struct {
	Open   func(t *rapid.T, now func() time.Time) store.Store
	Reopen func(t *rapid.T, s store.Store, now func() time.Time) store.Store // nil: never
}

// Run compares many random runs of a store with the model.
func Run(t *testing.T, c Config) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{Config: c, ctx: t.Context(), m: newModel(time.Unix(1_000_000, 0)), handles: map[store.SessionID]store.Session{}, given: map[store.SessionID]bool{}}
		r.s = c.Open(rt, r.now)
		defer func() { r.s.Close() }()
		actions := map[string]func(*rapid.T){
			"":        r.compare,
			"commit":  r.commit,
			"commit2": r.commit, // twice as often as the others
			"list":    r.list,
			"open":    r.open,
			"renew":   r.renew,
			"end":     r.end,
			"advance": r.advance,
			"watch":   r.watch,
			"poll":    r.poll,
			"compact": r.compact,
		}
		if c.Reopen != nil {
			actions["reopen"] = r.reopen
		}
		rt.Repeat(actions)
	})
}

type run struct {
	Config
	ctx      context.Context
	s        store.Store
	m        *model
	handles  map[store.SessionID]store.Session
	given    map[store.SessionID]bool // also those of before a reopening
	watchers []*watch
}

type watch struct {
	w      store.Watcher
	prefix string
	after  store.Revision
}

func (r *run) now() time.Time { return r.m.now }

// same fails the run unless both errors, and without errors both results, agree.
func same(t *rapid.T, what string, got any, gotErr error, want any, wantErr error) {
	t.Helper()
	if !errors.Is(gotErr, wantErr) || (wantErr == nil && gotErr != nil) {
		t.Fatalf("%s: error is %v, want %v", what, gotErr, wantErr)
	}
	if g, w := render(got, gotErr), render(want, wantErr); g != w {
		t.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}

var (
	anyKey    = rapid.SampledFrom([]string{"a", "a/", "a/1", "a/1/x", "a/2", "a0", "b", "b/1", "b/2", "\xff"})
	anyPrefix = rapid.SampledFrom([]string{"", "a", "a/", "a/1", "b", "b/", "c", "\xff"})
	anyTTL    = rapid.SampledFrom([]time.Duration{time.Second, 2 * time.Second, 5 * time.Second, time.Minute})
)

func (r *run) revision(t *rapid.T) store.Revision {
	return store.Revision(rapid.Int64Range(int64(r.m.oldest)-2, int64(r.m.revision)+1).Draw(t, "revision"))
}

func (r *run) session(t *rapid.T) store.SessionID {
	ids := slices.Sorted(maps.Keys(r.handles))
	if len(ids) == 0 {
		return 0
	}
	return rapid.SampledFrom(append(ids, 0)).Draw(t, "session")
}

func (r *run) compare(t *rapid.T) {
	got, err := r.s.List(r.ctx, "", store.Page{})
	want, wantErr := r.m.list("", store.Page{})
	same(t, "state", got, err, want, wantErr)
}

func (r *run) commit(t *rapid.T) {
	var txn store.Txn
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		kind := rapid.SampledFrom([]store.Kind{store.CondExists, store.CondAbsent, store.CondRevision, store.CondPrefixEmpty}).Draw(t, "condition")
		key := anyKey.Draw(t, "key")
		rev := r.revision(t)
		if held, ok := r.m.keys[key]; ok && rapid.Bool().Draw(t, "right revision") {
			rev = held.Revision
		}
		txn.If = append(txn.If, store.Cond{Kind: kind, Key: key, Revision: rev})
	}
	for range rapid.IntRange(0, 4).Draw(t, "operations") {
		op := store.Op{Kind: rapid.SampledFrom([]store.Kind{store.OpPut, store.OpPut, store.OpDelete, store.OpDeletePrefix}).Draw(t, "operation"), Key: anyKey.Draw(t, "key")}
		if op.Kind == store.OpPut {
			op.Value = rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "value")
			op.Session = r.session(t)
		}
		txn.Do = append(txn.Do, op)
	}
	want := txn.Validate()
	if want == nil {
		want = r.m.commit(txn)
	}
	rev, err := r.s.Commit(r.ctx, txn)
	if want != nil {
		for _, class := range []error{store.ErrInvalid, store.ErrConflict, store.ErrSessionExpired} {
			if errors.Is(want, class) {
				want = class
			}
		}
	}
	same(t, "commit", rev, err, r.m.revision, want)
}

func (r *run) list(t *rapid.T) {
	prefix := anyPrefix.Draw(t, "prefix")
	p := store.Page{Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
	if rapid.Bool().Draw(t, "after") {
		p.After = anyKey.Draw(t, "key")
	}
	if rapid.Bool().Draw(t, "at") {
		p.At = r.revision(t)
	}
	got, err := r.s.List(r.ctx, prefix, p)
	want, wantErr := r.m.list(prefix, p)
	same(t, "list", got, err, want, wantErr)
	key := anyKey.Draw(t, "get")
	rec, err := r.s.Get(r.ctx, key)
	held, ok := r.m.keys[key]
	wantErr = store.ErrNotFound
	if ok {
		wantErr = nil
	}
	same(t, "get", rec, err, held, wantErr)
}

func (r *run) open(t *rapid.T) {
	ttl := anyTTL.Draw(t, "ttl")
	x, err := r.s.Session(r.ctx, ttl)
	if err != nil {
		t.Fatal(err)
	}
	if r.given[x.ID()] {
		t.Fatalf("session %d was given twice", x.ID())
	}
	r.given[x.ID()] = true
	r.handles[x.ID()] = x
	r.m.sessions[x.ID()] = &lease{ttl: ttl, deadline: r.m.now.Add(ttl)}
}

func (r *run) renew(t *rapid.T) {
	id := r.session(t)
	if r.handles[id] == nil {
		t.Skip("no such session")
	}
	want := store.ErrSessionExpired
	if l := r.m.sessions[id]; l != nil {
		want, l.deadline = nil, r.m.now.Add(l.ttl)
	}
	same(t, "renew", nil, r.handles[id].Renew(r.ctx), nil, want)
}

func (r *run) end(t *rapid.T) {
	id := r.session(t)
	if r.handles[id] == nil {
		t.Skip("no such session")
	}
	r.m.end(id)
	same(t, "end", nil, r.handles[id].Close(r.ctx), nil, nil)
}

func (r *run) advance(t *rapid.T) {
	r.m.advance(time.Duration(rapid.IntRange(1, 3000).Draw(t, "milliseconds")) * time.Millisecond)
}

func (r *run) watch(t *rapid.T) {
	x := &watch{prefix: anyPrefix.Draw(t, "prefix"), after: r.revision(t)}
	var want error
	if x.after < r.m.oldest {
		want = store.ErrCompacted
	}
	var err error
	x.w, err = r.s.Watch(r.ctx, x.prefix, x.after)
	same(t, "watch", nil, err, nil, want)
	if err == nil {
		r.watchers = append(r.watchers, x)
	}
}

func (r *run) poll(t *rapid.T) {
	if len(r.watchers) == 0 {
		t.Skip("no watch")
	}
	done, cancel := context.WithCancel(r.ctx)
	cancel()
	x := rapid.SampledFrom(r.watchers).Draw(t, "watch")
	want, wantErr := r.m.poll(x.prefix, x.after)
	if wantErr == errNothing {
		wantErr = context.Canceled
	}
	got, err := x.w.Next(done)
	same(t, "poll", got, err, want, wantErr)
	if err == nil {
		x.after = got.Revision
	}
}

func (r *run) compact(t *rapid.T) {
	at := r.revision(t)
	var want error
	if at > r.m.revision {
		want = store.ErrInvalid
	}
	same(t, "compact", nil, r.s.Compact(r.ctx, at), nil, want)
	if want == nil && at > r.m.oldest {
		r.m.oldest = at
	}
}

// reopen loses history, watches and handles, and gives every session its full time.
func (r *run) reopen(t *rapid.T) {
	r.s = r.Reopen(t, r.s, r.now)
	r.m.oldest = r.m.revision
	for _, l := range r.m.sessions {
		l.deadline = r.m.now.Add(l.ttl)
	}
	r.watchers = nil
	clear(r.handles)
}
