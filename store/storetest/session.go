package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/store"
)

const (
	long  = time.Hour   // a session that lives as long as its case
	short = time.Second // a session that a case waits for
)

func (t *kit) session(ttl time.Duration) store.Session {
	t.Helper()
	x, err := t.s.Session(t.ctx, ttl)
	t.ok(err)
	if x.ID() == 0 {
		t.Fatal("a session has the ID that means none")
	}
	return x
}

// mortal opens a session and puts keys under it that will soon go with it. A
// machine so slow that they are gone before they are there gets more time.
func (t *kit) mortal(keys ...string) store.Session {
	t.Helper()
	for ttl := short; ; ttl *= 2 {
		x := t.session(ttl)
		var ops []store.Op
		for _, k := range keys {
			ops = append(ops, store.PutIn(x.ID(), k, []byte(k)))
		}
		_, err := t.s.Commit(t.ctx, store.Txn{Do: ops})
		if err == nil {
			return x
		}
		t.is(err, store.ErrSessionExpired)
	}
}

// pass lets a little time go by.
func (t *kit) pass() {
	t.Helper()
	t.ok(t.ctx.Err())
	if t.c.Advance != nil {
		t.c.Advance(t.s, short/10)
		return
	}
	time.Sleep(short / 20)
}

func (t *kit) now() time.Time {
	if t.c.Now != nil {
		return t.c.Now(t.s)
	}
	return time.Now()
}

// outlive lets time go by until key is gone.
func (t *kit) outlive(key string) {
	t.Helper()
	for t.has(key) {
		t.pass()
	}
}

var sessionCases = []namedCase{
	// A key put under a session says so, everywhere; other keys don't.
	{"SessionOfRecord", func(t *kit) {
		x, y := t.session(long), t.session(long)
		if x.ID() == y.ID() {
			t.Fatalf("two sessions have the ID %d", x.ID())
		}
		f := t.follow("", t.newest())
		t.do(store.PutIn(x.ID(), "x", nil), store.PutIn(y.ID(), "y", nil), store.Put("z", nil))
		want := map[string]store.SessionID{"x": x.ID(), "y": y.ID(), "z": 0}
		for _, ev := range f.events().Events {
			if ev.Session != want[ev.Key] {
				t.Errorf("the event of %q has session %d, want %d", ev.Key, ev.Session, want[ev.Key])
			}
		}
		for _, r := range t.list("", store.Page{}).Records {
			if got := t.get(r.Key).Session; r.Session != want[r.Key] || got != want[r.Key] {
				t.Errorf("%q has session %d listed, %d got, want %d", r.Key, r.Session, got, want[r.Key])
			}
		}
	}},
	// Closing a session deletes its keys, and only those, at once and in sight of watches.
	{"CloseSession", func(t *kit) {
		x, y := t.session(long), t.session(long)
		t.do(store.PutIn(x.ID(), "x/1", nil), store.PutIn(x.ID(), "x/2", nil), store.PutIn(y.ID(), "y", nil), store.Put("z", nil))
		f := t.follow("", t.newest())
		t.ok(x.Close(t.ctx))
		t.wantKeys("", "y", "z")
		gone := map[string]bool{}
		for _, b := range f.until(t.newest()) {
			for _, ev := range b.Events {
				gone[ev.Key] = ev.Deleted
			}
		}
		if fmt.Sprint(gone) != "map[x/1:true x/2:true]" {
			t.Fatalf("a watch saw %v", gone)
		}
		t.ok(x.Close(t.ctx))
		t.is(x.Renew(t.ctx), store.ErrSessionExpired)
		t.ok(y.Renew(t.ctx))
	}},
	// Nothing can be put under a session that is over; the whole transaction fails.
	{"PutInClosedSession", func(t *kit) {
		x := t.session(long)
		t.ok(x.Close(t.ctx))
		r := t.newest()
		_, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.Put("a", nil), store.PutIn(x.ID(), "b", nil)}})
		t.is(err, store.ErrSessionExpired)
		if n := t.newest(); n != r {
			t.Fatalf("the failed commit made revision %d", n)
		}
	}},
	// A key belongs to the session of its last put, and to none when that was plain.
	{"Rebind", func(t *kit) {
		x, y := t.session(long), t.session(long)
		for _, k := range []string{"plain", "moved", "again", "new"} {
			t.do(store.PutIn(x.ID(), k, nil))
		}
		t.do(store.Put("plain", nil))
		t.do(store.PutIn(y.ID(), "moved", nil))
		t.do(store.PutIn(x.ID(), "again", []byte("2")))
		t.do(store.Delete("new"))
		t.do(store.Put("new", nil))
		t.ok(x.Close(t.ctx))
		t.wantKeys("", "moved", "new", "plain")
		t.ok(y.Close(t.ctx))
		t.wantKeys("", "new", "plain")
	}},
	// A session that nobody renews ends, and its keys with it; then it is over for good.
	{"Expire", func(t *kit) {
		x := t.mortal("a", "b")
		t.put("c")
		f := t.follow("", t.newest())
		t.outlive("a")
		t.outlive("b")
		t.wantKeys("", "c")
		gone := 0
		for _, b := range f.until(t.newest()) {
			for _, ev := range b.Events {
				if !ev.Deleted || ev.Key == "c" {
					t.Fatalf("a watch saw %+v", ev)
				}
				gone++
			}
		}
		if gone != 2 {
			t.Fatalf("a watch saw %d deletions, want 2", gone)
		}
		t.is(x.Renew(t.ctx), store.ErrSessionExpired)
		_, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.PutIn(x.ID(), "a", nil)}})
		t.is(err, store.ErrSessionExpired)
		t.ok(x.Close(t.ctx))
	}},
	// A watch that waits learns of the end of a session though nobody calls the store.
	{"ExpireInSightOfWatch", func(t *kit) {
		if t.c.Advance != nil {
			t.Skip("this store's clock moves by Advance only, so a watch can't wait for it")
		}
		t.mortal("a")
		f := t.follow("", t.newest())
		if b := f.events(); text(b) != "[-a]" {
			t.Fatalf("the watch saw %s", text(b))
		}
	}},
	// Renewing keeps a session alive, beyond the end of one that was opened after it.
	{"Renew", func(t *kit) {
		for ttl := short; ; ttl *= 2 {
			if renewed(t, ttl) {
				return
			}
		}
	}},
	// Until Deadline the keys are there; renewing moves it, and never back.
	{"Deadline", func(t *kit) {
		x := t.mortal("a")
		first := x.Deadline()
		if err := x.Renew(t.ctx); err == nil && x.Deadline().Before(first) {
			t.Fatalf("renewing moved the deadline from %v back to %v", first, x.Deadline())
		}
		for {
			alive := t.has("a")
			if !t.now().Before(x.Deadline()) {
				break
			}
			if !alive {
				t.Fatalf("the key is gone before %v", x.Deadline())
			}
			t.pass()
		}
		t.outlive("a")
	}},
	// Closing the store ends no session: its keys are there for the next process, until
	// nobody renews it.
	{"SessionOutlivesStore", func(t *kit) {
		if t.c.Reopen == nil {
			t.Skip("this store does not outlive its process")
		}
		x, y, closed := t.session(long), t.mortal("y"), t.session(long)
		t.do(store.PutIn(x.ID(), "x", nil))
		t.ok(closed.Close(t.ctx))
		t.s = t.c.Reopen(t.T, t.s)
		_, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.PutIn(closed.ID(), "closed", nil)}})
		t.is(err, store.ErrSessionExpired)
		t.outlive("y")
		t.wantKeys("", "x")
		if got := t.get("x").Session; got != x.ID() {
			t.Fatalf("the key is of session %d, was %d", got, x.ID())
		}
		_, err = t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.PutIn(y.ID(), "y", nil)}})
		t.is(err, store.ErrSessionExpired)
		t.do(store.PutIn(x.ID(), "x2", nil))
		if z := t.session(long); z.ID() == x.ID() || z.ID() == y.ID() || z.ID() == closed.ID() {
			t.Fatalf("the session ID %d was given twice", z.ID())
		}
	}},
}

// renewed reports false when the machine was too slow for ttl, which proves nothing.
func renewed(t *kit, ttl time.Duration) bool {
	kept := t.session(ttl)
	left := t.session(ttl)
	sent := t.now()
	_, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{
		store.PutIn(kept.ID(), "kept", nil), store.PutIn(left.ID(), "left", nil)}})
	if errors.Is(err, store.ErrSessionExpired) {
		return false
	}
	t.ok(err)
	for alive := true; alive; alive = t.has("left") {
		before := sent
		sent = t.now()
		if err := kept.Renew(t.ctx); err != nil {
			if t.now().Sub(before) < ttl {
				t.Fatalf("renewing failed after %v of %v: %v", t.now().Sub(before), ttl, err)
			}
			return false
		}
		t.pass()
	}
	if !t.has("kept") && t.now().Sub(sent) < ttl {
		t.Fatal("the renewed session's key went with the other's")
	}
	t.ok(kept.Close(t.ctx))
	return true
}
