package node

import (
	"context"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// overtaken is a store whose answers are overtaken by what happens after each.
type overtaken struct {
	store.Store
	by func(key string)
}

func (s overtaken) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := s.Store.Get(ctx, key)
	s.by(key)
	return r, err
}

// Who was absent and asks who is the edge does not believe an answer that is older than
// what it has heard meanwhile: nothing would tell it again, and two nodes would be the edge.
func TestEdgeIsNotForgotten(t *testing.T) {
	clock := &handClock{time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	a, ctx := heir(t, clock), t.Context()
	a.Outside.Mode = netfab.Routed
	a.absences++
	key := record.RouterKey(spec.FloatingNetwork)
	write := func(node string) store.Event {
		if _, err := a.Records.Commit(ctx, a.Records.Begin().Put(key, spec.Router{Node: node})); err != nil {
			t.Fatal(err)
		}
		r, err := a.Records.Store().Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		return store.Event{Record: r}
	}
	m := a.edgeMirror()
	first := write("here")
	m.reset([]store.Record{first.Record})
	records, moved := a.Records, false
	below := records.Store()
	a.Records = record.New(overtaken{below, func(asked string) {
		if asked == key && !moved {
			moved = true
			if _, err := records.Commit(ctx, records.Begin().Put(key, spec.Router{Node: "other"})); err != nil {
				t.Fatal(err)
			}
			r, err := below.Get(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			m.change(store.Event{Record: r})
		}
	}}, func() string { return "read" })
	if _, err := a.rereadRouters(ctx); err != nil || !moved {
		t.Fatal(moved, err)
	}
	if a.view.edge.Node != "other" {
		t.Errorf("the edge is %q, and it has heard of another since", a.view.edge.Node)
	}
	// Nor does a watch that is behind make it forget what it has read.
	if m.change(first); a.view.edge.Node != "other" {
		t.Errorf("the edge is %q, by an event that is older than what was read", a.view.edge.Node)
	}
}
