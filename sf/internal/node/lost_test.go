package node

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// stopped is a clock that stands still.
type stopped struct{ reconcile.RealClock }

func (stopped) Now() time.Time { return time.Unix(1e9, 0) }

// A node is recorded as lost though all that were to do so are lost right after it,
// before they have.
func TestLostWithItsReporters(t *testing.T) {
	ctx := t.Context()
	ids := 0
	a := &Agent{Config: Config{
		Name: "me", Clock: stopped{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Records: record.New(memory.New(memory.Config{}), func() string { ids++; return fmt.Sprintf("%036d", ids) }),
	}}
	a.queue, a.vital = reconcile.New(a.Clock), reconcile.New(a.Clock)
	a.view.init()
	nodes := []string{"me"}
	for k := range 12 {
		nodes = append(nodes, fmt.Sprint("n", k))
	}
	for _, name := range nodes {
		a.view.nodes[name] = netip.Addr{}
		if _, err := a.Records.Commit(ctx, a.Records.Begin().Create(record.NodeKey(name), spec.Node{Name: name})); err != nil {
			t.Fatal(err)
		}
	}
	m := a.liveMirror()
	for _, name := range nodes {
		m.change(store.Event{Record: store.Record{Key: record.NodeLiveKey(name), Revision: 1}})
	}
	lost, heirs := "", []string(nil) // one that this node is far from having to report
	for k := 1; slices.Index(heirs, "me") < reporters; k++ {
		lost = nodes[k]
		heirs = Succession(lost, slices.Clone(nodes))
	}
	for _, name := range append([]string{lost}, heirs...) {
		if name == "me" {
			break // this node is the first that is left
		}
		m.change(store.Event{Record: store.Record{Key: record.NodeLiveKey(name), Revision: 2}, Deleted: true})
		for a.queue.Depths().Due > 0 {
			key, err := a.queue.Next(ctx)
			if err == nil {
				_, err = a.reportLost(ctx, strings.TrimPrefix(key, keyLost))
			}
			if err != nil {
				t.Fatal(err)
			}
			a.queue.Done(key, never)
		}
	}
	if _, err := record.Get[claims.Lost](ctx, a.Records, record.NodeLostKey(lost)); err != nil {
		t.Errorf("nobody says that it is lost: %v", err)
	}
}
