package node

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// handClock is a clock that is moved by hand; nobody waits by it here.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time { return c.now }
func (c *handClock) Wait(ctx context.Context, _ time.Duration, _ <-chan struct{}) error {
	<-ctx.Done()
	return ctx.Err()
}

// heir is an agent with a guest on a network whose router's node is gone.
func heir(t *testing.T, clock *handClock) *Agent {
	t.Helper()
	records := memory.New(memory.Config{Now: func() time.Time { return clock.now }})
	t.Cleanup(func() { records.Close() })
	id := 0
	client := record.New(records, func() string { id++; return strconv.Itoa(id) })
	a := &Agent{
		Config: Config{Name: "here", Records: client, Clock: clock, SessionTTL: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)},
		queue:  reconcile.New(clock), vital: reconcile.New(clock),
	}
	a.fabric.init()
	a.view.init()
	n := &networkView{Network: spec.Network{UUID: "net"}, router: spec.Router{Node: "gone"}}
	n.nics = map[string]spec.Interface{"nic": {UUID: "nic", Node: "here"}}
	a.view.networks["net"] = n
	a.view.gone["gone"] = clock.now.Add(-time.Hour)
	s, err := records.Session(t.Context(), a.SessionTTL)
	if err != nil {
		t.Fatal(err)
	}
	a.session = s
	txn := client.Begin().PutIn(s.ID(), record.NodeLiveKey("here"), Live{}).Create(record.RouterKey("net"), n.router).
		Create(record.MemberKey("net", "here"), claims.Empty{})
	if _, err := client.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestHeirWaits has a node whose turn it is and that does not surely hold its session look
// again: it may hold it a moment later, and then no event says so.
func TestHeirWaits(t *testing.T) {
	clock := &handClock{time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	a := heir(t, clock)
	a.view.live["here"] = true
	opened := clock.now
	clock.now = a.session.Deadline().Add(time.Millisecond)
	after, err := a.reconcileRouters(t.Context())
	if err != nil || after < 0 {
		t.Errorf("not sure of its session, it looks again in %v, %v", after, err)
	}
	clock.now = opened.Add(a.SessionTTL - time.Second/2) // for the store, it is not late
	if err := a.session.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err = a.reconcileRouters(t.Context()); err != nil || after >= 0 {
		t.Errorf("then: again in %v, %v", after, err)
	}
	r, err := record.Get[spec.Router](t.Context(), a.Records, record.RouterKey("net"))
	if err != nil || r.Value.Node != "here" {
		t.Errorf("the router is at %q, %v", r.Value.Node, err)
	}
}

// TestHeirReturns makes what others left due once this node sees itself among those that live.
func TestHeirReturns(t *testing.T) {
	clock := &handClock{time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	a := heir(t, clock)
	if after, err := a.reconcileRouters(t.Context()); err != nil || after >= 0 {
		t.Fatalf("one that does not live is an heir: %v, %v", after, err)
	}
	a.liveMirror().change(store.Event{Record: store.Record{Key: record.NodeLiveKey("here"), Revision: 9}})
	if depths := a.vital.Depths(); depths.Due != 1 {
		t.Errorf("it lives, and nothing is due: %+v", depths)
	}
}

// TestLastToLeave has a node leave a network of which it was told nothing new for a while:
// that it ends, and that all others have left it. It is the one who is to say that it is gone.
func TestLastToLeave(t *testing.T) {
	clock := &handClock{time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	a, ctx := heir(t, clock), t.Context()
	work := record.WorkKey("here", spec.KindNetwork, "net")
	txn := a.Records.Begin().Create(record.EndKey("net"), claims.Empty{}).Create(work, claims.Empty{}).
		Create(record.NetworkKey("net"), spec.Network{UUID: "net", Namespace: "demo", Deletion: &spec.Deletion{Requested: clock.now}}).
		Create(record.NetworkStatusKey("net"), spec.NetworkStatus{State: spec.StateCreated})
	if _, err := a.Records.Commit(ctx, txn); err != nil {
		t.Fatal(err)
	}
	a.view.networks["net"].nics = map[string]spec.Interface{}
	a.fabric.left = map[string]bool{"net": true}
	if _, err := a.reconcileNetwork(ctx, "net"); err != nil {
		t.Fatal(err)
	}
	n, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey("net"))
	if err != nil || !n.Value.Deletion.Gone() {
		t.Errorf("the network is %+v, %v", n.Value, err)
	}
	if _, err := a.Records.Store().Get(ctx, work); !missing(err) {
		t.Errorf("the node still has to do with it: %v", err)
	}
}

// meanwhile is a context that has something done whenever somebody is about to wait for its end.
type meanwhile struct {
	context.Context
	do func()
}

func (c meanwhile) Done() <-chan struct{} {
	c.do()
	return c.Context.Done()
}

// TestHeirFollows has a network looked at for what its lost router's heirs are to do once it
// is among those that are looked at, however soon another worker was there.
func TestHeirFollows(t *testing.T) {
	clock := &handClock{time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	a := heir(t, clock)
	a.view.live["here"] = true
	n := a.view.networks["net"]
	delete(a.view.networks, "net")
	txn := a.Records.Begin().Create(record.NetworkKey("net"), n.Network).Create(record.InterfaceKey("net", "nic"), n.nics["nic"])
	if _, err := a.Records.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	a.Go = func(string, func()) {}
	due := func() (keys []string) {
		for a.vital.Depths().Due > 0 {
			key, err := a.vital.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			a.vital.Done(key, never)
			keys = append(keys, key)
		}
		return keys
	}
	work := func() { // as a quick worker does
		if slices.Contains(due(), keyRouters) {
			if _, err := a.reconcileRouters(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if err := a.followNetwork(meanwhile{t.Context(), work}, "net"); err != nil {
		t.Fatal(err)
	}
	work()
	r, err := record.Get[spec.Router](t.Context(), a.Records, record.RouterKey("net"))
	if err != nil || r.Value.Node != "here" {
		t.Errorf("the router is at %q, %v", r.Value.Node, err)
	}
}
