package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/shakenfist/cloud/store"
)

// together runs fn(0) to fn(n-1) at once and fails the test when one fails.
func (t *kit) together(n int, fn func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	t.ok(errors.Join(errs...))
}

var concurrentCases = []namedCase{
	// Compare-and-commit loses no update, however many want the same key.
	{"Counter", func(t *kit) {
		const callers, rounds = 8, 25
		t.do(store.Put("n", []byte("0")))
		t.together(callers, func(int) error {
			for done := 0; done < rounds; {
				r, err := t.s.Get(t.ctx, "n")
				if err != nil {
					return err
				}
				n, err := strconv.Atoi(string(r.Value))
				if err != nil {
					return err
				}
				_, err = t.s.Commit(t.ctx, store.Txn{
					If: []store.Cond{store.RevisionIs("n", r.Revision)},
					Do: []store.Op{store.Put("n", []byte(strconv.Itoa(n+1)))},
				})
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					return err
				}
			}
			return nil
		})
		if got := string(t.get("n").Value); got != strconv.Itoa(callers*rounds) {
			t.Fatalf("counted to %s, want %d", got, callers*rounds)
		}
	}},
	// Of many who claim a key that must not exist, one gets it.
	{"OneWinner", func(t *kit) {
		const claims = 20
		var won [claims]atomic.Int32
		t.together(8, func(me int) error {
			for i := range claims {
				key := fmt.Sprint("claim/", i)
				_, err := t.s.Commit(t.ctx, store.Txn{If: []store.Cond{store.Absent(key)}, Do: []store.Op{store.Put(key, nil)}})
				if err == nil {
					won[i].Add(1)
				} else if !errors.Is(err, store.ErrConflict) {
					return err
				}
			}
			return nil
		})
		for i := range won {
			if n := won[i].Load(); n != 1 {
				t.Errorf("claim %d has %d winners", i, n)
			}
		}
	}},
	// Who has committed reads it back, and nobody's reads go back in time.
	{"ReadYourWrites", func(t *kit) {
		t.together(6, func(me int) error {
			var last store.Revision
			for i := range 40 {
				key := fmt.Sprint("k", (me+i)%4)
				r, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.Put(key, nil)}})
				if err != nil {
					return err
				}
				got, err := t.s.Get(t.ctx, key)
				if err != nil {
					return err
				}
				l, err := t.s.List(t.ctx, "k", store.Page{Limit: 1})
				if err != nil {
					return err
				}
				if got.Revision < r || l.Revision < got.Revision || l.Revision < last {
					return fmt.Errorf("committed %d, got %d, listed %d after %d", r, got.Revision, l.Revision, last)
				}
				last = l.Revision
			}
			return nil
		})
	}},
	// A list is one snapshot: moving something from key to key is never seen half done.
	{"ListIsOneSnapshot", func(t *kit) {
		const keys, total = 5, 100
		for i := range keys {
			t.do(store.Put(fmt.Sprint("purse/", i), []byte(strconv.Itoa(total/keys))))
		}
		var moving atomic.Int32
		moving.Store(2)
		t.together(4, func(me int) error {
			if me < 2 {
				defer moving.Add(-1)
				return movePennies(t, me, keys)
			}
			for moving.Load() > 0 {
				if err := countPennies(t, keys, total); err != nil {
					return err
				}
			}
			return countPennies(t, keys, total)
		})
	}},
	// Commits that were written together are all there for the next process.
	{"ReopenAfterLoad", func(t *kit) {
		if t.c.Reopen == nil {
			t.Skip("this store does not outlive its process")
		}
		t.together(8, func(me int) error { return writePairs(t, me, 10) })
		before := t.list("", store.Page{})
		t.s = t.c.Reopen(t.T, t.s)
		if after := t.list("", store.Page{}); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Fatalf("before: %v\nafter: %v", before, after)
		}
	}},
	// Under load a watch sees each revision whole, in order and without gaps, and
	// what it saw since a list adds up to the next list.
	{"WatchUnderLoad", func(t *kit) {
		const writers, rounds, watchers = 4, 50, 3
		start := t.newest()
		end := start + writers*rounds
		t.together(writers+watchers, func(me int) error {
			if me < writers {
				return writePairs(t, me, rounds)
			}
			return watchPairs(t, end)
		})
		if n := t.newest(); n != end {
			t.Fatalf("the store is at %d after %d commits since %d", n, writers*rounds, start)
		}
	}},
}

func movePennies(t *kit, me, keys int) error {
	for i := range 40 {
		from, to := fmt.Sprint("purse/", (me+i)%keys), fmt.Sprint("purse/", (me+i*2+1)%keys)
		if from == to {
			continue
		}
		a, err := t.s.Get(t.ctx, from)
		if err != nil {
			return err
		}
		b, err := t.s.Get(t.ctx, to)
		if err != nil {
			return err
		}
		x, _ := strconv.Atoi(string(a.Value))
		y, _ := strconv.Atoi(string(b.Value))
		_, err = t.s.Commit(t.ctx, store.Txn{
			If: []store.Cond{store.RevisionIs(from, a.Revision), store.RevisionIs(to, b.Revision)},
			Do: []store.Op{store.Put(from, []byte(strconv.Itoa(x-1))), store.Put(to, []byte(strconv.Itoa(y+1)))},
		})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

func countPennies(t *kit, keys, total int) error {
	l, err := t.s.List(t.ctx, "purse/", store.Page{})
	if err != nil {
		return err
	}
	sum := 0
	for _, r := range l.Records {
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			return err
		}
		sum += n
	}
	if sum != total || len(l.Records) != keys {
		return fmt.Errorf("%d keys hold %d at revision %d, want %d and %d", len(l.Records), sum, l.Revision, keys, total)
	}
	return nil
}

func writePairs(t *kit, me, rounds int) error {
	for i := range rounds {
		v := []byte(strconv.Itoa(i))
		a, b := fmt.Sprintf("pair/%d/a", me), fmt.Sprintf("pair/%d/b", me)
		if _, err := t.s.Commit(t.ctx, store.Txn{Do: []store.Op{store.Put(a, v), store.Put(b, v)}}); err != nil {
			return err
		}
	}
	return nil
}

func watchPairs(t *kit, end store.Revision) error {
	l, err := t.s.List(t.ctx, "pair/", store.Page{})
	if err != nil {
		return err
	}
	w, err := t.s.Watch(t.ctx, "pair/", l.Revision)
	if err != nil {
		return err
	}
	defer w.Close()
	seen := map[string]string{}
	for _, r := range l.Records {
		seen[r.Key] = fmt.Sprintf("%s@%d", r.Value, r.Revision)
	}
	for last := l.Revision; last < end; {
		b, err := w.Next(t.ctx)
		if err != nil {
			return err
		}
		if len(b.Events) == 0 && b.Revision <= last {
			continue
		}
		if len(b.Events) != 2 || b.Revision != last+1 || string(b.Events[0].Value) != string(b.Events[1].Value) {
			return fmt.Errorf("after revision %d came %d with %s", last, b.Revision, text(b))
		}
		last = b.Revision
		for _, ev := range b.Events {
			seen[ev.Key] = fmt.Sprintf("%s@%d", ev.Value, ev.Revision)
		}
	}
	l, err = t.s.List(t.ctx, "pair/", store.Page{At: end})
	if err != nil {
		return err
	}
	for _, r := range l.Records {
		if got, want := seen[r.Key], fmt.Sprintf("%s@%d", r.Value, r.Revision); got != want {
			return fmt.Errorf("the watch arrived at %s = %s, the list has %s", r.Key, got, want)
		}
	}
	if len(l.Records) != len(seen) {
		return fmt.Errorf("the watch arrived at %d keys, the list has %d", len(seen), len(l.Records))
	}
	return nil
}
