package measure

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
	"github.com/shakenfist/cloud/store/memory"
	"github.com/shakenfist/cloud/store/storetest"
)

// TestConformance holds that counting changes nothing.
func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Config{Open: func(t *testing.T) store.Store {
		m := memory.New(memory.Config{})
		t.Cleanup(func() { m.Close() })
		return NewStore(m, time.Now)
	}})
}

// TestStoreStats counts one of everything, on a clock that goes on by a second with
// each look.
func TestStoreStats(t *testing.T) {
	m := memory.New(memory.Config{})
	defer m.Close()
	now := time.Unix(0, 0)
	s, ctx := NewStore(m, func() time.Time { now = now.Add(time.Second); return now }), t.Context()
	put := store.Txn{If: []store.Cond{store.Absent("a")}, Do: []store.Op{store.Put("a", nil)}}
	rev, err := s.Commit(ctx, put)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, put); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, "a", rev-1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(ctx); err != nil {
		t.Fatal(err)
	}
	open, err := s.Watch(ctx, "b", rev)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	w.Close()
	w.Close()
	s.Get(ctx, "a")
	s.Get(ctx, "none")
	s.List(ctx, "", store.Page{})
	want := StoreStats{Gets: 2, Lists: 1, Commits: 2, Conflicts: 1, Watches: 1, Batches: 1, Events: 1,
		Took: Times{Count: 2, Seconds: 2, Bounds: bounds, Within: []int64{0, 0, 0, 0, 0, 2, 2, 2, 2}}}
	if d := cmp.Diff(want, s.Stats()); d != "" {
		t.Error("-want +got", d)
	}

	lost := NewStore(faulty.New(m, faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
		if len(c.Txn.Do) > 0 {
			return faulty.Fault{Effect: faulty.LoseReply}
		}
		return faulty.Fault{Effect: faulty.Refuse}
	}}), time.Now)
	lost.Commit(ctx, store.Txn{Do: []store.Op{store.Put("c", nil)}})
	lost.Get(ctx, "c")
	if got := lost.Stats(); got.Unknown != 1 || got.Failed != 1 || got.Commits != 1 {
		t.Errorf("of a store that loses replies: %+v", got)
	}
}
