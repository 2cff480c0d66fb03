package sftest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/netfab"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/store"
)

// polled is a context that is done, with which a pulled stream is polled.
var polled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// ErrCut is the error of a call that does not reach its other end.
var ErrCut = errors.New("sftest: the process is cut off")

// simPeers asks other nodes' processes.
type simPeers struct {
	s *Sim
	p *process
}

func (t simPeers) Renewing(_ context.Context, nodes []string) map[string]bool {
	answers := map[string]bool{}
	for _, name := range nodes {
		if t.s.step(t.p, "ask "+name, false) != nil {
			continue
		}
		if n := t.p.node.peer(name); n != nil {
			answers[name] = n.Cloud.Renewing()
		}
	}
	return answers
}

// peer is another node whose process answers this one's.
func (n *SimNode) peer(name string) *SimNode {
	for _, o := range n.sim.Nodes {
		if o.Name == name && o.Cloud != nil && !o.Dead() && !o.frozen && !o.isolated && !n.isolated && o.apart == n.apart {
			return o
		}
	}
	return nil
}

// neighbour is the host of another node as this one's image cache reaches it.
func (n *SimNode) neighbour(name string) *fake.Host {
	if o := n.peer(name); o != nil {
		return o.Machine
	}
	return nil
}

// simGuard is a host's dead-man's switch as a process sees it.
type simGuard struct {
	s *Sim
	p *process
}

func (t simGuard) Keep(ctx context.Context, d time.Duration) error {
	if err := t.s.step(t.p, "guard", false); err != nil {
		return err
	}
	t.p.node.until = t.s.now.Add(d)
	return nil
}

// reach is the step of a call of the store.
func (t simStore) reach(what string) error {
	if err := t.s.step(t.p, what, false); err != nil {
		return err
	}
	if t.p.node.cut {
		return ErrCut
	}
	return nil
}

// poll calls next until it gives something, and lets others run until changes does.
func poll[T any](ctx context.Context, s *Sim, p *process, what string, changes *int, next func(context.Context) (T, error)) (T, error) {
	var none T
	for {
		if err := s.step(p, what, false); err != nil {
			return none, err
		}
		seen := *changes
		v, err := next(polled)
		if !errors.Is(err, context.Canceled) {
			return v, err
		}
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		until, _ := ctx.Deadline()
		s.wait(func() bool { return *changes != seen || ctx.Err() != nil || p.dead }, until)
		if p.dead {
			return none, ErrKilled
		}
	}
}

// simClock is the simulated time as a process sees it.
type simClock struct {
	s *Sim
	p *process
}

func (c simClock) Now() time.Time { return c.p.node.now() }

func (c simClock) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	until, _ := ctx.Deadline()
	end := c.s.now.Add(d)
	if d >= 0 && (until.IsZero() || end.Before(until)) {
		until = end
	}
	for {
		select {
		case <-wake:
			return nil
		default:
		}
		switch {
		case c.p.dead:
			return ErrKilled
		case ctx.Err() != nil:
			return ctx.Err()
		case d >= 0 && !c.s.now.Before(end):
			return nil
		}
		c.s.wait(func() bool { return len(wake) > 0 || ctx.Err() != nil || c.p.dead }, until)
	}
}

// simStore is the store as a process sees it: every call is a step, or two.
type simStore struct {
	store.Store
	s *Sim
	p *process
}

func (t simStore) Get(ctx context.Context, key string) (store.Record, error) {
	if err := t.reach("store get " + key); err != nil {
		return store.Record{}, err
	}
	return t.Store.Get(ctx, key)
}

func (t simStore) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	if err := t.reach("store list " + prefix); err != nil {
		return store.List{}, err
	}
	return t.Store.List(ctx, prefix, page)
}

func (t simStore) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	what := "store commit"
	if len(txn.Do) > 0 {
		what += " " + txn.Do[0].Key
	}
	if err := t.reach(what); err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	rev, err := t.Store.Commit(ctx, txn)
	t.s.records++
	if err != nil {
		return rev, err
	}
	t.s.noteRouter(txn)
	if err := t.s.step(t.p, what+" done", true); err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return rev, nil
}

func (t simStore) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	if err := t.reach("store watch " + prefix); err != nil {
		return nil, err
	}
	w, err := t.Store.Watch(ctx, prefix, after)
	return simWatcher{w, t.s, t.p}, err
}

func (t simStore) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	if err := t.reach("store session"); err != nil {
		return nil, err
	}
	s, err := t.Store.Session(ctx, ttl)
	if err == nil {
		t.p.node.lapsing = false
		t.s.renewed(s.ID(), t.s.now.Add(ttl))
	}
	return simSession{s, ttl, t.s, t.p}, err
}

// noteRouter looks whether a router that an heir has taken over still works where it
// was: nothing must be routed twice.
func (s *Sim) noteRouter(txn store.Txn) {
	if len(txn.Do) == 0 || !strings.HasSuffix(txn.Do[0].Key, "/router") {
		return
	}
	for _, c := range txn.If {
		was, ok := strings.CutPrefix(c.Key, "sf/node-live/")
		if !ok || c.Kind != store.CondAbsent {
			continue
		}
		s.moved++
		for _, n := range s.Nodes {
			if n.Name == was && n.routes(txn.Do[0].Key) {
				s.broken = append(s.broken, fmt.Sprintf("%s still routes when %s is taken over", was, txn.Do[0].Key))
			}
		}
	}
}

// routes reports whether a network's router works on this host.
func (n *SimNode) routes(router string) bool {
	tag := "sim/" + n.Name
	have, _ := fabric.New(fabric.Config{Host: n.Fabric, Tag: tag}).Observe(context.Background())
	for _, w := range have.Networks {
		if w.Gateway != nil && strings.Contains(router, w.ID) {
			return n.Fabric.Routes(tag, n.sim.now)
		}
	}
	return false
}

type simWatcher struct {
	store.Watcher
	s *Sim
	p *process
}

func (w simWatcher) Next(ctx context.Context) (store.Batch, error) {
	return poll(ctx, w.s, w.p, "store next", &w.s.records, func(ctx context.Context) (store.Batch, error) {
		if w.p.node.cut || w.p.node.deaf {
			return store.Batch{}, context.Canceled // nothing arrives
		}
		return w.Watcher.Next(ctx)
	})
}

type simSession struct {
	store.Session
	ttl time.Duration
	s   *Sim
	p   *process
}

func (t simSession) Renew(ctx context.Context) error {
	if err := (simStore{s: t.s, p: t.p}).reach("session renew"); err != nil {
		return err
	}
	if _, lives := t.s.sessions[t.ID()]; lives && t.p.node.lapsing {
		return ErrCut
	}
	err := t.Session.Renew(ctx)
	if err == nil {
		t.s.renewed(t.ID(), t.s.now.Add(t.ttl))
	}
	return err
}

// Deadline is the moment by the node's clock.
func (t simSession) Deadline() time.Time { return t.Session.Deadline().Add(t.p.node.Skew) }

// now is the time by the host's clock.
func (n *SimNode) now() time.Time { return n.sim.now.Add(n.Skew) }

// simHypervisor is a host's hypervisor as a process sees it. Its calls are steps
// by the host's hook; only waiting for events is different.
type simHypervisor struct {
	*fake.Hypervisor
	s *Sim
	p *process
}

func (h simHypervisor) Events(ctx context.Context) (driver.EventStream, error) {
	e, err := h.Hypervisor.Events(ctx)
	return simEvents{e, h.s, h.p}, err
}

type simEvents struct {
	driver.EventStream
	s *Sim
	p *process
}

func (e simEvents) Next(ctx context.Context) (driver.Event, error) {
	return poll(ctx, e.s, e.p, "machine events", &e.s.hosts, e.EventStream.Next)
}

// fabricHook makes every call of the fabric, and every step of an Apply, a step.
func (n *SimNode) fabricHook(what string) error {
	n.sim.hosts++
	err := n.sim.step(n.sim.current.proc, "fabric "+what, false)
	if errors.Is(err, ErrKilled) {
		return fmt.Errorf("%w: %w", netfab.ErrAborted, err)
	}
	return err
}
