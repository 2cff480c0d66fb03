package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/store"
)

// looker looks at something whenever it is logged to.
type looker struct {
	slog.Handler
	look func()
}

func (l looker) Handle(context.Context, slog.Record) error { l.look(); return nil }
func (l looker) Enabled(context.Context, slog.Level) bool  { return true }

// TestNodesAreToldAtOnce reads all nodes anew, as after a gap in what is watched, while
// somebody looks: none that is there is ever missing, with its guests.
func TestNodesAreToldAtOnce(t *testing.T) {
	a := heir(t, &handClock{time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)})
	node := func(i int) store.Record {
		name := fmt.Sprintf("node%d", i)
		return store.Record{Key: record.NodeKey(name), Value: fmt.Appendf(nil, `{"name": %q, "address": "10.64.0.%d"}`, name, i), Revision: store.Revision(i)}
	}
	damaged := store.Record{Key: record.NodeKey("damaged"), Value: []byte("not JSON")}
	m := a.nodesMirror()
	m.reset([]store.Record{node(1), node(2), node(3)})
	var seen []int
	a.Logger = slog.New(looker{slog.DiscardHandler, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		seen = append(seen, len(a.view.nodes))
	}})
	m.reset([]store.Record{damaged, node(1), damaged, node(2), damaged, node(4)})
	if !slices.Equal(seen, []int{3, 3, 3}) {
		t.Errorf("who looked meanwhile saw %v nodes, want 3", seen)
	}
	want := map[string]netip.Addr{"node1": netip.MustParseAddr("10.64.0.1"), "node2": netip.MustParseAddr("10.64.0.2"), "node4": netip.MustParseAddr("10.64.0.4")}
	if !maps.Equal(a.view.nodes, want) || a.view.nodesAt != 4 {
		t.Errorf("the nodes are %v at %d, want %v at 4", a.view.nodes, a.view.nodesAt, want)
	}
}
