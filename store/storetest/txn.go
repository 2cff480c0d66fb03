package storetest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/shakenfist/cloud/store"
)

var txnCases = []namedCase{
	// Each condition holds exactly when it says; where one doesn't, nothing is written.
	{"Conditions", func(t *kit) {
		old := t.put("here")
		now := t.put("here")
		t.put("dir/a")
		for _, c := range []struct {
			cond store.Cond
			want bool
		}{
			{store.Exists("here"), true},
			{store.Exists("gone"), false},
			{store.Exists("dir/"), false},
			{store.Absent("here"), false},
			{store.Absent("gone"), true},
			{store.RevisionIs("here", now), true},
			{store.RevisionIs("here", old), false},
			{store.RevisionIs("here", 0), false},
			{store.RevisionIs("gone", now), false},
			{store.RevisionIs("gone", 0), false}, // a revision includes that the key exists
			{store.PrefixEmpty("dir/"), false},
			{store.PrefixEmpty("dir/a"), false}, // a key starts with itself
			{store.PrefixEmpty("dir/a/"), true},
			{store.PrefixEmpty("di"), false},
			{store.PrefixEmpty("none/"), true},
		} {
			for _, conds := range [][]store.Cond{{c.cond}, {store.Exists("here"), c.cond}, {c.cond, store.Exists("here")}} {
				before := t.newest()
				r, err := t.s.Commit(t.ctx, store.Txn{If: conds, Do: []store.Op{store.Put("out", nil)}})
				switch {
				case c.want && (err != nil || r != before+1):
					t.Errorf("%v: revision %d after %d, %v", conds, r, before, err)
				case !c.want:
					t.is(err, store.ErrConflict)
					if n := t.newest(); n != before {
						t.Errorf("%v: a refused commit made revision %d", conds, n)
					}
					if r < now || r > before {
						t.Errorf("%v: refused at revision %d, the store is at %d", conds, r, before)
					}
				}
			}
		}
	}},
	// Conditions look at the state before the transaction, not at its own writes.
	{"ConditionsBefore", func(t *kit) {
		txn := store.Txn{If: []store.Cond{store.Absent("a"), store.PrefixEmpty("a")}, Do: []store.Op{store.Put("a", nil)}}
		_, err := t.s.Commit(t.ctx, txn)
		t.ok(err)
		_, err = t.s.Commit(t.ctx, txn)
		t.is(err, store.ErrConflict)
	}},
	// Put, delete and delete-prefix of one transaction are one change.
	{"AllAtOnce", func(t *kit) {
		t.put("a", "b", "d/1", "d/2")
		f := t.follow("", t.newest())
		r := t.do(store.Put("a", []byte("A")), store.Delete("b"), store.DeletePrefix("d/"), store.Put("c", []byte("C")))
		t.wantKeys("", "a", "c")
		f.want(r, "+a=A", "-b", "-d/1", "-d/2", "+c=C")
	}},
	// A key that was deleted and made again is another one: its old revision is no
	// token for it, so nobody overwrites what they have not seen.
	{"NoABA", func(t *kit) {
		old := t.put("a")
		t.do(store.Delete("a"))
		t.put("a")
		_, err := t.s.Commit(t.ctx, store.Txn{If: []store.Cond{store.RevisionIs("a", old)}, Do: []store.Op{store.Delete("a")}})
		t.is(err, store.ErrConflict)
	}},
	// Mistakes of the caller are told apart from conflicts, by every store alike.
	{"Invalid", func(t *kit) {
		r := t.put("a")
		put := func(k string) store.Op { return store.Put(k, []byte("v")) }
		for name, txn := range map[string]store.Txn{
			"empty key in a condition":          {If: []store.Cond{store.Exists("")}},
			"empty prefix in a condition":       {If: []store.Cond{store.PrefixEmpty("")}},
			"empty key in a put":                {Do: []store.Op{put("")}},
			"empty key in a delete":             {Do: []store.Op{store.Delete("")}},
			"empty prefix in a delete":          {Do: []store.Op{store.DeletePrefix("")}},
			"no condition":                      {If: []store.Cond{{Key: "a"}}},
			"operation as condition":            {If: []store.Cond{{Kind: store.OpPut, Key: "a"}}},
			"no operation":                      {Do: []store.Op{{Key: "a"}}},
			"condition as operation":            {Do: []store.Op{{Kind: store.CondExists, Key: "a"}}},
			"unknown kind":                      {Do: []store.Op{{Kind: 200, Key: "a"}}},
			"put twice":                         {Do: []store.Op{put("x"), put("y"), put("x")}},
			"put and deleted":                   {Do: []store.Op{put("x"), store.Delete("x")}},
			"deleted twice":                     {Do: []store.Op{store.Delete("a"), store.Delete("a")}},
			"put below a deleted prefix":        {Do: []store.Op{store.DeletePrefix("x/"), put("x/1")}},
			"deleted below a deleted prefix":    {Do: []store.Op{store.Delete("x/1"), store.DeletePrefix("x/")}},
			"prefix deleted as key and prefix":  {Do: []store.Op{store.Delete("x/"), store.DeletePrefix("x/")}},
			"deleted prefixes cover each other": {Do: []store.Op{store.DeletePrefix("x/1"), store.DeletePrefix("x/")}},
		} {
			txn.Do = append(txn.Do, put("written"))
			if _, err := t.s.Commit(t.ctx, txn); err == nil {
				t.Errorf("%s: accepted", name)
			} else {
				t.is(err, store.ErrInvalid)
			}
		}
		if n := t.newest(); n != r {
			t.Fatalf("refused commits moved the store from revision %d to %d", r, n)
		}
	}},
	// Limits are the same everywhere, to the byte.
	{"Limits", func(t *kit) {
		long := strings.Repeat("k", store.MaxKey)
		ops := func(n int) (ops []store.Op) {
			for i := range n {
				ops = append(ops, store.Put(fmt.Sprintf("n/%d", i), nil))
			}
			return ops
		}
		big := func(n int) []byte { return bytes.Repeat([]byte{'v'}, n) }
		for _, c := range []struct {
			name string
			txn  store.Txn
			want error
		}{
			{"most operations", store.Txn{Do: ops(store.MaxOps)}, nil},
			{"one operation more", store.Txn{Do: ops(store.MaxOps + 1)}, store.ErrTooLarge},
			{"one condition more", store.Txn{If: []store.Cond{store.Absent("x")}, Do: ops(store.MaxOps)}, store.ErrTooLarge},
			{"longest key", store.Txn{Do: []store.Op{store.Put(long, nil)}}, nil},
			{"longer key", store.Txn{Do: []store.Op{store.Put(long+"k", nil)}}, store.ErrTooLarge},
			{"longer key in a condition", store.Txn{If: []store.Cond{store.Absent(long + "k")}}, store.ErrTooLarge},
			{"most bytes", store.Txn{If: []store.Cond{store.Absent("xx")}, Do: []store.Op{store.Put("b", big(store.MaxBytes-3))}}, nil},
			{"one byte more", store.Txn{If: []store.Cond{store.Absent("xx")}, Do: []store.Op{store.Put("b", big(store.MaxBytes-2))}}, store.ErrTooLarge},
		} {
			before := t.newest()
			_, err := t.s.Commit(t.ctx, c.txn)
			if c.want == nil && err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if c.want != nil {
				t.is(err, c.want)
				if n := t.newest(); n != before {
					t.Errorf("%s: refused, but the store moved from %d to %d", c.name, before, n)
				}
			}
		}
		if got := t.get("b"); len(got.Value) != store.MaxBytes-3 {
			t.Fatalf("the largest value came back with %d bytes", len(got.Value))
		}
	}},
}
