package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/store"
)

var watchCases = []namedCase{
	// A watch sees what changes below its prefix after its revision, with values.
	{"Watch", func(t *kit) {
		r := t.put("w/old")
		f := t.follow("w/", r)
		t.put("other", "w", "w0")
		one := t.do(store.Put("w/a", []byte("1")))
		two := t.do(store.Put("w/a", []byte("2")))
		three := t.do(store.Delete("w/a"))
		four := t.do(store.Delete("w/old"), store.Put("w/b", []byte("3")), store.Put("v", nil))
		f.want(one, "+w/a=1")
		f.want(two, "+w/a=2")
		f.want(three, "-w/a")
		f.want(four, "-w/old", "+w/b=3")
	}},
	// A watch may start in the past: it delivers what happened since.
	{"WatchThePast", func(t *kit) {
		r := t.put("a")
		two := t.do(store.Delete("a"))
		three := t.put("a")
		f := t.follow("", r)
		f.want(two, "-a")
		f.want(three, "+a=a")
		f = t.follow("", two)
		f.want(three, "+a=a")
	}},
	// What changed nothing is not an event.
	{"WatchSeesOnlyChanges", func(t *kit) {
		f := t.follow("", t.newest())
		_, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.Delete("none"), store.DeletePrefix("none/")}})
		t.ok(err)
		_, err = t.s.Commit(t.ctx, store.Txn{If: []store.Cond{store.Exists("none")}, Do: []store.Op{store.Put("b", nil)}})
		t.is(err, store.ErrConflict)
		f.want(t.put("a"), "+a=a")
	}},
	// A watch that has nothing to show still tells in time how far it is, so that who
	// waits for a revision may wait for the watch.
	{"ProgressMarks", func(t *kit) {
		f := t.follow("mine/", t.newest())
		for range 3 {
			r := t.put("other")
			if all := f.until(r); len(all) != 0 {
				t.Fatalf("events of another prefix: %v", all)
			}
		}
		r := t.put("mine/a")
		f.want(r, "+mine/a=mine/a")
	}},
	// Two watches do not share what they have delivered.
	{"WatchesAreIndependent", func(t *kit) {
		r := t.newest()
		a, b := t.follow("", r), t.follow("", r)
		one := t.put("k")
		a.want(one, "+k=k")
		two := t.put("l")
		a.want(two, "+l=l")
		b.want(one, "+k=k")
		b.want(two, "+l=l")
	}},
	// A done context polls: it returns what is there, and its error when nothing is,
	// and does not cost a batch.
	{"Poll", func(t *kit) {
		done, cancel := context.WithCancel(t.ctx)
		cancel()
		f := t.follow("", t.newest())
		if b, err := f.w.Next(done); err == nil && len(b.Events) > 0 {
			t.Fatalf("an idle watch returned %v", b)
		} else if err != nil {
			t.is(err, context.Canceled)
		}
		for i := range 20 {
			r := t.put(fmt.Sprint("k", i))
			for f.last < r {
				b, err := f.w.Next(done)
				if err != nil {
					t.is(err, context.Canceled)
					t.ok(t.ctx.Err())
					time.Sleep(time.Millisecond) // what was committed may be on its way
					continue
				}
				f.check(b)
				if len(b.Events) > 0 && text(b) != fmt.Sprintf("[+k%d=k%d]", i, i) {
					t.Fatalf("polled %s at %d", text(b), b.Revision)
				}
			}
		}
	}},
	// A Next given up waiting loses nothing.
	{"CancelledNext", func(t *kit) {
		f := t.follow("k", t.newest())
		for i := range 20 {
			ctx, cancel := context.WithCancel(t.ctx)
			type result struct {
				b   store.Batch
				err error
			}
			got := make(chan result)
			go func() {
				b, err := f.w.Next(ctx)
				got <- result{b, err}
			}()
			key := fmt.Sprint("k", i)
			committed := make(chan store.Revision)
			go func() {
				r, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.Put(key, []byte("v"))}})
				if err != nil {
					t.Errorf("commit: %v", err)
				}
				committed <- r
			}()
			cancel()
			res, r := <-got, <-committed
			if res.err != nil {
				t.is(res.err, context.Canceled)
			} else if f.check(res.b); len(res.b.Events) > 0 {
				if text(res.b) != "[+"+key+"=v]" {
					t.Fatalf("got %s", text(res.b))
				}
				continue
			}
			f.want(r, "+"+key+"=v")
		}
	}},
	// Closing a watch ends the Next under way, and all later ones.
	{"CloseWatch", func(t *kit) {
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
		t.ok(w.Close())
		t.is(<-ended, store.ErrClosed)
		_, err := w.Next(t.ctx)
		t.is(err, store.ErrClosed)
		t.ok(w.Close())
	}},
}

var historyCases = []namedCase{
	// An old snapshot shows what was then: old values, deleted keys, nothing newer.
	{"Snapshots", func(t *kit) {
		one := t.do(store.Put("a", []byte("1")), store.Put("b", []byte("1")))
		two := t.do(store.Put("a", []byte("2")), store.Delete("b"), store.Put("c", []byte("2")))
		t.put("d")
		render := func(at store.Revision) (s string) {
			l := t.list("", store.Page{At: at})
			if at != 0 && l.Revision != at {
				t.Fatalf("a list at %d says it is of %d", at, l.Revision)
			}
			for _, r := range l.Records {
				s += fmt.Sprintf("%s=%s@%d ", r.Key, r.Value, r.Revision-one)
			}
			return s
		}
		for _, c := range []struct {
			at   store.Revision
			want string
		}{
			{one, "a=1@0 b=1@0 "},
			{two, "a=2@1 c=2@1 "},
			{two + 1, "a=2@1 c=2@1 d=d@2 "},
			{0, "a=2@1 c=2@1 d=d@2 "},
		} {
			if got := render(c.at); got != c.want {
				t.Errorf("at %d: %s, want %s", c.at, got, c.want)
			}
		}
		if _, err := t.s.List(t.ctx, "", store.Page{At: two + 1000}); err == nil {
			t.Error("a snapshot of the future was served")
		}
	}},
	// What was compacted is refused, loudly; what was not is still there.
	{"Compact", func(t *kit) {
		var r [6]store.Revision
		for i := range r {
			r[i] = t.do(store.Put("a", []byte{byte('0' + i)}))
		}
		t.ok(t.s.Compact(t.ctx, r[3]))
		t.ok(t.s.Compact(t.ctx, r[3]))
		t.ok(t.s.Compact(t.ctx, r[1]))
		for i, at := range r {
			l, err := t.s.List(t.ctx, "", store.Page{At: at})
			if i < 3 {
				t.is(err, store.ErrCompacted)
			} else if t.ok(err); string(l.Records[0].Value) != string(byte('0'+i)) {
				t.Fatalf("snapshot %d has the value %q", i, l.Records[0].Value)
			}
		}
		t.is(watchError(t, r[0]), store.ErrCompacted)
		f := t.follow("", r[3])
		f.want(r[4], "+a=4")
		f.want(r[5], "+a=5")
		if t.s.Compact(t.ctx, r[5]+1000) == nil {
			t.Error("the future was compacted")
		}
	}},
	// A list's revision is a place to watch from even after everything older was compacted.
	{"CompactNewest", func(t *kit) {
		t.put("a", "b")
		l := t.list("", store.Page{})
		t.ok(t.s.Compact(t.ctx, l.Revision))
		f := t.follow("", l.Revision)
		t.wantKeys("", "a", "b")
		if got := keysOf(t.list("", store.Page{At: l.Revision})); len(got) != 2 {
			t.Fatalf("the newest snapshot has %q after compaction", got)
		}
		f.want(t.put("c"), "+c=c")
	}},
	// A watch that falls behind compaction gets everything, or ErrCompacted, and then for
	// good; it never goes on as if nothing were missing.
	{"FallBehind", func(t *kit) {
		f := t.follow("", t.newest())
		var want []string
		for i := range 50 {
			key := fmt.Sprint("k", i)
			want = append(want, "[+"+key+"="+key+"]")
			t.put(key)
		}
		t.ok(t.s.Compact(t.ctx, t.newest()))
		for i := 0; i < len(want); {
			b, err := f.w.Next(t.ctx)
			if err != nil {
				t.is(err, store.ErrCompacted)
				_, err = f.w.Next(t.ctx)
				t.is(err, store.ErrCompacted)
				return
			}
			if f.check(b); len(b.Events) == 0 {
				continue
			}
			if text(b) != want[i] {
				t.Fatalf("batch %d is %s, want %s", i, text(b), want[i])
			}
			i++
		}
	}},
}

// watchError is what a watch from a revision ends with, at once or in its first Next.
func watchError(t *kit, after store.Revision) error {
	t.Helper()
	w, err := t.s.Watch(t.ctx, "", after)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err = w.Next(t.ctx); err == nil {
		return errors.New("none: the watch went on")
	}
	return err
}
