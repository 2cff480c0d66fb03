package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
)

// everyMethod calls each method of the store that takes a context.
func everyMethod(t *kit, ctx context.Context, x store.Session) map[string]error {
	got := map[string]error{}
	_, got["Get"] = t.s.Get(ctx, "a")
	_, got["List"] = t.s.List(ctx, "", store.Page{})
	_, got["Commit"] = t.s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("never", nil)}})
	_, got["Watch"] = t.s.Watch(ctx, "", t.newestOr0())
	_, got["Session"] = t.s.Session(ctx, time.Hour)
	got["Compact"] = t.s.Compact(ctx, 1)
	got["Renew"] = x.Renew(ctx)
	return got
}

func (t *kit) newestOr0() store.Revision {
	l, err := t.s.List(t.ctx, "no such prefix", store.Page{})
	if err != nil {
		return 0
	}
	return l.Revision
}

var lifeCases = []namedCase{
	// A done context fails every method with its own error, and nothing happens.
	{"DoneContext", func(t *kit) {
		t.put("a")
		x := t.session(long)
		cancelled, cancel := context.WithCancel(t.ctx)
		cancel()
		late, cancel := context.WithDeadline(t.ctx, time.Unix(0, 0))
		defer cancel()
		for want, ctx := range map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: late} {
			for name, err := range everyMethod(t, ctx, x) {
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
			}
		}
		t.wantKeys("", "a")
		t.ok(x.Renew(t.ctx))
	}},
	// A commit cancelled while it is under way either happened, or did not, or can't
	// tell; when it claims that it did not, it never will.
	{"CancelledCommit", func(t *kit) {
		const callers, rounds = 8, 40
		var certain sync.Map // key: whether it was said to be there
		t.together(callers, func(me int) error {
			rng := rand.New(rand.NewPCG(uint64(me), 1))
			for i := range rounds {
				key := fmt.Sprintf("k/%d/%d", me, i)
				ctx, cancel := context.WithCancel(t.ctx)
				time.AfterFunc(time.Duration(rng.IntN(1_000_000)), cancel) // some come too late
				_, err := t.s.Commit(ctx, store.Txn{Do: []store.Op{store.Put(key, nil)}})
				cancel()
				switch {
				case err == nil:
					certain.Store(key, true)
				case errors.Is(err, store.ErrUnknownOutcome):
				case errors.Is(err, context.Canceled):
					certain.Store(key, false)
				default:
					return err
				}
			}
			return nil
		})
		t.put("last")
		certain.Range(func(key, want any) bool {
			if t.has(key.(string)) != want {
				t.Errorf("%s: exists: %v, the commit said: %v", key, !want.(bool), want)
			}
			return true
		})
	}},
	// A closed store fails every method with ErrClosed, and ends the watches that wait.
	{"Closed", func(t *kit) {
		t.put("a")
		x := t.session(long)
		w := t.watch("none", t.newest())
		ended := make(chan error)
		go func() {
			for {
				if _, err := w.Next(t.ctx); err != nil {
					ended <- err
					return
				}
			}
		}()
		t.ok(t.s.Close())
		t.is(<-ended, store.ErrClosed)
		for name, err := range everyMethod(t, t.ctx, x) {
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s: %v, want ErrClosed", name, err)
			}
		}
		_, err := w.Next(t.ctx)
		t.is(err, store.ErrClosed)
		t.ok(w.Close())
	}},
	// The next process finds all keys as they were, and revisions go on from there. Its
	// watches from before get what they ask for, or ErrCompacted.
	{"Reopen", func(t *kit) {
		if t.c.Reopen == nil {
			t.Skip("this store does not outlive its process")
		}
		for round := range 3 {
			for i := range 10 {
				t.put(fmt.Sprintf("r/%d/%d", round, i))
			}
			t.do(store.Delete(fmt.Sprintf("r/%d/3", round)), store.DeletePrefix(fmt.Sprintf("r/%d/4", round)), store.Put(fmt.Sprintf("x/%d", round), []byte{0}))
			before := t.list("", store.Page{})
			t.s = t.c.Reopen(t.T, t.s)
			after := t.list("", store.Page{})
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Fatalf("before: %v\nafter: %v", before, after)
			}
			if l, err := t.s.List(t.ctx, "", store.Page{At: before.Revision}); err != nil || fmt.Sprint(l) != fmt.Sprint(before) {
				t.Fatalf("the last snapshot is no longer held: %v", err)
			}
			f := t.follow("r/", before.Revision)
			f.want(t.put("r/new"), "+r/new=r/new")
			if err := watchError(t, before.Revision-2); !errors.Is(err, store.ErrCompacted) {
				old := t.follow("", before.Revision-2)
				old.want(before.Revision-1, fmt.Sprintf("+r/%d/9=r/%d/9", round, round))
			}
		}
	}},
}
