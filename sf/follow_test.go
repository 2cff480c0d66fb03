package sf_test

import (
	"fmt"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// TestFollowEvents follows events from several places: each gets everything after
// it once, in order, whatever happened in between.
func TestFollowEvents(t *testing.T) {
	ctx := sftest.Context(t)
	c := sftest.New(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	first, position := drainEvents(t, c, sf.FollowOptions{Kind: sf.KindNetwork, Object: n.UUID})
	kept, err := c.Events(ctx, sf.KindNetwork, n.UUID)
	if err != nil || len(first) != len(kept) || len(kept) == 0 {
		t.Fatalf("followed %v, kept are %d, %v", first, len(kept), err)
	}
	if again, _ := drainEvents(t, c, sf.FollowOptions{Kind: sf.KindNetwork, Object: n.UUID, After: position}); len(again) != 0 {
		t.Errorf("behind the end there is %v", again)
	}
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	c.ComeToRest(t)
	since, later := drainEvents(t, c, sf.FollowOptions{After: position})
	kept, err = c.Events(ctx, sf.KindInstance, i.UUID)
	if err != nil || len(since) < len(kept) {
		t.Errorf("since %d there was %v; the instance has %d, %v", position, since, len(kept), err)
	}
	// The same once the store has forgotten how it came to be.
	if err := c.Store.Compact(ctx, store.Revision(later)); err != nil {
		t.Fatal(err)
	}
	gap, _ := drainEvents(t, c, sf.FollowOptions{After: position})
	if len(gap) < len(kept) || gap[0] != "gap" {
		t.Errorf("after compaction: %v", gap)
	}
	// A position of a store that had gone further.
	if lost, _ := drainEvents(t, c, sf.FollowOptions{After: later + 1000}); len(lost) < len(first)+len(kept) || lost[0] != "gap" {
		t.Errorf("from the future: %v", lost)
	}
	if fresh, _ := drainEvents(t, c, sf.FollowOptions{After: -1}); len(fresh) != 0 {
		t.Errorf("from now on there was already %v", fresh)
	}
}

// Whoever reads the past so slowly that the store forgets how it was gets the rest all
// the same, each event once, and is told.
func TestFollowThePastSlowly(t *testing.T) {
	ctx := sftest.Context(t)
	s := memory.New(memory.Config{})
	defer s.Close()
	c, err := sf.Open(ctx, sf.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	const many = 1200 // more than are read at a time
	tell := func(object string) store.Revision {
		e := store.Put(record.EventPrefix(sf.KindInstance, object)+"1", []byte(`{"object": "`+object+`"}`))
		at, err := s.Commit(ctx, store.Txn{Do: []store.Op{e}})
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for k := range many {
		tell(fmt.Sprintf("o%04d", k))
	}
	seen, gap := map[string]int{}, false
	for b, err := range c.FollowEvents(ctx, sf.FollowOptions{}) {
		if err != nil {
			t.Fatalf("after %d events: %v", len(seen), err)
		}
		if gap = gap || b.Gap; len(seen) == 0 {
			tell("o0000")                                         // has been read
			if err := s.Compact(ctx, tell("o1100")); err != nil { // has not
				t.Fatal(err)
			}
		}
		for _, e := range b.Events {
			seen[e.Object]++
		}
		if seen["o0000"] == 2 && seen["o1100"] > 0 {
			break
		}
	}
	for object, n := range seen {
		if n != 1 && object != "o0000" {
			t.Errorf("%s came %d times", object, n)
		}
	}
	if len(seen) != many || !gap {
		t.Errorf("%d of %d objects, told of a gap: %t", len(seen), many, gap)
	}
}

// drainEvents returns the events that are to be had now, and the position behind them.
func drainEvents(t *testing.T, c *sftest.Cloud, opt sf.FollowOptions) (seen []string, position int64) {
	t.Helper()
	ctx := sftest.Context(t)
	// A commit of our own, which every follower passes sooner or later, marks the end.
	if err := c.SetMetadata(ctx, sf.KindNamespace, sf.System, "looked", "once more"); err != nil {
		t.Fatal(err)
	}
	now, err := c.Store.List(ctx, "sf/cloud", store.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range c.FollowEvents(ctx, opt) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Gap {
			seen = append(seen, "gap")
		}
		for _, e := range b.Events {
			seen = append(seen, fmt.Sprintf("%s %s %s", e.Kind, e.Operation, e.Phase))
		}
		if b.Position >= int64(now.Revision) {
			return seen, b.Position
		}
	}
	return nil, 0
}
