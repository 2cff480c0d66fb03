package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/store"
)

var keyCases = []namedCase{
	// A new store has nothing, and says so without an error where nothing is an answer.
	{"Empty", func(t *kit) {
		_, err := t.s.Get(t.ctx, "a")
		t.is(err, store.ErrNotFound)
		l := t.list("", store.Page{})
		if len(l.Records) != 0 || l.More {
			t.Fatalf("an empty store lists %d records, more: %v", len(l.Records), l.More)
		}
	}},
	// Values come back byte for byte, with their key and the revision of their commit.
	{"PutGet", func(t *kit) {
		for i, v := range [][]byte{[]byte("text"), {}, {0}, {0xff, 0, '\n', 0xfe}, bytes.Repeat([]byte{'x'}, 100_000)} {
			key := fmt.Sprintf("k/%d", i)
			r := t.do(store.Put(key, v))
			got := t.get(key)
			if got.Key != key || !bytes.Equal(got.Value, v) || got.Revision != r || got.Session != 0 {
				t.Fatalf("got %q, %d bytes, revision %d, session %d after putting %d bytes at %d",
					got.Key, len(got.Value), got.Revision, got.Session, len(v), r)
			}
		}
	}},
	// A store keeps what was committed, whatever the caller then does with its buffer.
	{"ValueIsCopied", func(t *kit) {
		v := []byte("before")
		r := t.newest()
		t.do(store.Put("k", v))
		copy(v, "after!")
		if got := t.get("k"); string(got.Value) != "before" {
			t.Fatalf("the value became %q with its caller's buffer", got.Value)
		}
		t.follow("", r).want(r+1, "+k=before")
	}},
	// Each commit that changes something is one revision higher than the one
	// before, and all keys that it wrote share it.
	{"Revisions", func(t *kit) {
		first := t.do(store.Put("a", nil))
		second := t.do(store.Put("b", nil), store.Put("c", nil), store.Delete("a"))
		third := t.do(store.Put("b", nil)) // the same value again is a change
		if second != first+1 || third != second+1 {
			t.Fatalf("revisions %d, %d, %d are not consecutive", first, second, third)
		}
		if b, c := t.get("b").Revision, t.get("c").Revision; b != third || c != second {
			t.Fatalf("b and c are of revisions %d and %d, want %d and %d", b, c, third, second)
		}
		if n := t.newest(); n != third {
			t.Fatalf("the store is at revision %d, the last commit was %d", n, third)
		}
	}},
	// What changes nothing makes no revision: checking, deleting what is not there.
	{"NothingChanged", func(t *kit) {
		r := t.put("a")
		for _, txn := range []store.Txn{
			{},
			{If: []store.Cond{store.Exists("a")}},
			{Do: []store.Op{store.Delete("b"), store.DeletePrefix("c/")}},
		} {
			got, err := t.s.Commit(t.ctx, txn)
			t.ok(err)
			if got != r {
				t.Fatalf("a commit that changed nothing returned revision %d, the store was at %d", got, r)
			}
		}
		if next := t.put("a"); next != r+1 {
			t.Fatalf("revision %d after %d", next, r)
		}
	}},
	// A deleted key is gone, and may come back as a new one.
	{"Delete", func(t *kit) {
		t.put("a", "b")
		t.do(store.Delete("a"))
		t.do(store.Delete("a"))
		t.wantKeys("", "b")
		r := t.put("a")
		if got := t.get("a"); got.Revision != r {
			t.Fatalf("the new key is of revision %d, want %d", got.Revision, r)
		}
	}},
	// A prefix is a prefix of bytes: it takes itself and what is longer, and not
	// its neighbours on either side.
	{"DeletePrefix", func(t *kit) {
		t.put("p", "p.", "p/", "p/\x00", "p/a", "p/a/b", "p/\xff", "p/\xff\xff", "p0", "q")
		t.do(store.DeletePrefix("p/"))
		t.wantKeys("", "p", "p.", "p0", "q")
		t.put("\xff", "\xff\xff", "\xff\xffa")
		t.do(store.DeletePrefix("\xff\xff"))
		t.wantKeys("", "p", "p.", "p0", "q", "\xff")
	}},
	// Deleting many keys at once is one revision.
	{"DeletePrefixMany", func(t *kit) {
		for i := range 10 {
			var ops []store.Op
			for j := range 100 {
				ops = append(ops, store.Put(fmt.Sprintf("many/%d/%d", i, j), []byte("v")))
			}
			t.do(ops...)
		}
		t.put("many0")
		r := t.newest()
		f := t.follow("many/", r)
		if got := t.do(store.DeletePrefix("many/")); got != r+1 {
			t.Fatalf("revision %d after %d", got, r)
		}
		if b := f.events(); len(b.Events) != 1000 || b.Revision != r+1 {
			t.Fatalf("a watch saw %d deletions at %d, want 1000 at %d", len(b.Events), b.Revision, r+1)
		}
		t.wantKeys("", "many0")
	}},
}

var listCases = []namedCase{
	// Keys are sorted by bytes, prefixes match bytes, the empty prefix matches all.
	{"List", func(t *kit) {
		keys := []string{"b", "a/10", "a/2", "a", "a/", "a0", "\xff/x", "A", "a/\x00", "a/é", "a/~"}
		t.put(keys...)
		slices.Sort(keys)
		t.wantKeys("", keys...)
		for _, prefix := range []string{"a", "a/", "a/2", "b", "\xff", "nothing", "a/2x"} {
			var want []string
			for _, k := range keys {
				if strings.HasPrefix(k, prefix) {
					want = append(want, k)
				}
			}
			t.wantKeys(prefix, want...)
		}
		for _, r := range t.list("a", store.Page{}).Records {
			if got := t.get(r.Key); string(r.Value) != r.Key || r.Revision != got.Revision {
				t.Fatalf("listed %q = %q of %d, got revision %d", r.Key, r.Value, r.Revision, got.Revision)
			}
		}
	}},
	// A page ends at its limit and says whether that left anything.
	{"Pages", func(t *kit) {
		t.put("l/1", "l/2", "l/3", "l/4", "l/5", "m")
		for _, c := range []struct {
			page store.Page
			want string
			more bool
		}{
			{store.Page{Limit: 2}, "l/1 l/2", true},
			{store.Page{Limit: 5}, "l/1 l/2 l/3 l/4 l/5", false},
			{store.Page{Limit: 6}, "l/1 l/2 l/3 l/4 l/5", false},
			{store.Page{After: "l/2"}, "l/3 l/4 l/5", false},
			{store.Page{After: "l/2", Limit: 2}, "l/3 l/4", true},
			{store.Page{After: "l/3", Limit: 2}, "l/4 l/5", false},
			{store.Page{After: "l/25", Limit: 1}, "l/3", true}, // not a key
			{store.Page{After: "a", Limit: 1}, "l/1", true},    // before the prefix
			{store.Page{After: "l/5", Limit: 1}, "", false},
			{store.Page{After: "z"}, "", false}, // behind the prefix
		} {
			l := t.list("l/", c.page)
			if got := strings.Join(keysOf(l), " "); got != c.want || l.More != c.more {
				t.Errorf("page %+v has %q, more: %v, want %q, %v", c.page, got, l.More, c.want, c.more)
			}
		}
	}},
	// Memory that is lent to a list may be used for it, and changes nothing else.
	{"ListInto", func(t *kit) {
		t.put("l/1", "l/2", "l/3", "m")
		other := t.list("m", store.Page{})
		into := make([]store.Record, 2, 8)
		for _, c := range []struct {
			prefix string
			page   store.Page
			more   bool
		}{
			{"l/", store.Page{}, false},
			{"l/", store.Page{Limit: 2}, true},
			{"l/", store.Page{After: "l/1"}, false},
			{"none", store.Page{}, false},
			{"", store.Page{}, false},
		} {
			want := fmt.Sprint(t.list(c.prefix, c.page).Records)
			for _, room := range [][]store.Record{into, into[:0], into[:1:1], {}} {
				c.page.Into = room
				if l := t.list(c.prefix, c.page); fmt.Sprint(l.Records) != want || l.More != c.more {
					t.Errorf("%q by page %+v has %v, more: %v, want %s, %v", c.prefix, c.page, l.Records, l.More, want, c.more)
				}
			}
		}
		clear(into[:8]) // nothing of the store's own
		t.wantKeys("", "l/1", "l/2", "l/3", "m")
		if got := keysOf(other); got[0] != "m" {
			t.Errorf("what was listed before is now %q", got)
		}
	}},
	// Pages cut at the revision of the first are one snapshot, whatever is written meanwhile.
	{"PagesOfOneSnapshot", func(t *kit) {
		t.put("l/1", "l/3", "l/5")
		l := t.list("l/", store.Page{Limit: 1})
		t.do(store.Put("l/2", nil), store.Put("l/3", []byte("new")), store.Delete("l/5"))
		var got []string
		page := store.Page{Limit: 1, At: l.Revision}
		for {
			for _, r := range l.Records {
				got = append(got, r.Key+"="+string(r.Value))
				page.After = r.Key
			}
			if !l.More {
				break
			}
			at := l.Revision
			if l = t.list("l/", page); l.Revision != at {
				t.Fatalf("a page at %d says it is of %d", at, l.Revision)
			}
		}
		if s := strings.Join(got, " "); s != "l/1=l/1 l/3=l/3 l/5=l/5" {
			t.Fatalf("the pages have %s", s)
		}
	}},
}
