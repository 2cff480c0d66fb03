// Package node is the agent of one host: it drives the host towards the records
// that name it, from whatever state the host is in.
//
// Everything it does is a reconciler run by a queue: keyed, level-triggered, one
// step decided by pure code and executed idempotently, then decided again. What
// it keeps in memory is only what can be found out anew.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Config is what an agent works with; everything is required unless it says otherwise.
type Config struct {
	Name       string
	Records    *record.Client
	Hypervisor driver.Hypervisor
	Volumes    driver.Volumes
	Fabric     netfab.Fabric

	Address netip.Addr // on the underlay; may be not valid
	Uplink  string     // may be empty

	CPUOvercommit     float64
	MemoryOvercommit  float64
	ReservedMemoryMiB int
	MaxInstances      int
	MinFreeDisk       int64 // bytes

	Workers    int
	SessionTTL time.Duration
	Version    string
	DNS        []netip.Addr
	Zone       string
	DiskBus    string
	Keep       time.Duration // deleted records stay readable for so long

	Raw  *RawPorts       // nil for none
	Intn func(n int) int // chance

	Clock  reconcile.Clock
	Go     func(name string, loop func())
	Logger *slog.Logger
}

// Agent runs one node.
type Agent struct {
	Config
	queue   *reconcile.Queue
	cancel  context.CancelFunc
	running int           // loops, under mu
	stopped chan struct{} // capacity 1: the last loop ended

	mu        sync.Mutex
	session   store.Session
	instances map[string]*instance // what is known beyond the records, by UUID
	fabric    fabricState
	ports     map[string]*ports // of running instances
	failures  map[string]int    // in a row, by key
}

// How often things are looked at that no event announces.
const (
	resyncEvery  = 30 * time.Second
	fabricEvery  = 10 * time.Second
	janitorEvery = 10 * time.Minute
)

// closeTimeout bounds how long Close waits for a driver call under way.
const closeTimeout = 30 * time.Second

// Keys of the queue. The rest of a key names the object.
const (
	keyInstance = "instance/"
	keyFetch    = "fetch/"
	keyNetwork  = "network/"
	keyConsole  = "console/"
	keySnapshot = "snapshot/"
	keyOps      = "operation/"
	keyFabric   = "fabric"
	keySession  = "session"
	keyResync   = "resync"
	keyJanitor  = "janitor"
	keyTend     = "tend"
)

// Start registers the node and starts its loops.
func Start(ctx context.Context, cfg Config) (*Agent, error) {
	a := &Agent{
		Config: cfg, queue: reconcile.New(cfg.Clock), stopped: make(chan struct{}, 1),
		instances: map[string]*instance{}, ports: map[string]*ports{}, failures: map[string]int{},
	}
	a.fabric.init()
	if err := a.register(ctx); err != nil {
		return nil, err
	}
	watch, err := a.follow(ctx)
	if err != nil {
		return nil, err
	}
	events, err := cfg.Hypervisor.Events(ctx)
	if err != nil {
		watch.Close()
		return nil, fmt.Errorf("hypervisor events: %w", err)
	}
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	a.spawn("store", func() { a.pumpStore(loops, watch) })
	a.spawn("hypervisor", func() { a.pumpHypervisor(loops, events) })
	for i := range cfg.Workers {
		a.spawn(fmt.Sprintf("worker-%d", i), func() { a.work(loops) })
	}
	return a, nil
}

// Close stops the loops and waits for them. Machines and networks stay; the
// node's session ends, so that the cloud knows at once.
func (a *Agent) Close() error {
	a.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.Clock.Wait(ctx, -1, a.stopped); err != nil {
		return fmt.Errorf("node %s: its loops do not end: %w", a.Name, err)
	}
	return a.session.Close(ctx)
}

func (a *Agent) spawn(name string, loop func()) {
	a.mu.Lock()
	a.running++
	a.mu.Unlock()
	a.Go(a.Name+"/"+name, func() {
		loop()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.running--; a.running == 0 {
			a.stopped <- struct{}{}
		}
	})
}

// follow lists this node's work, makes all of it due, and watches it from there.
func (a *Agent) follow(ctx context.Context) (store.Watcher, error) {
	prefix := record.WorkPrefix(a.Name)
	l, err := a.Records.Store().List(ctx, prefix, store.Page{})
	if err != nil {
		return nil, err
	}
	a.queue.Add(keyFabric)
	for _, r := range l.Records {
		a.due(strings.TrimPrefix(r.Key, prefix))
	}
	a.queue.Add(keyResync)
	a.queue.Add(keyJanitor)
	a.queue.Add(keyTend)
	a.queue.AddAfter(keySession, a.SessionTTL/3)
	return a.Records.Store().Watch(ctx, prefix, l.Revision)
}

// pumpStore turns changes of the work list into due keys. A watch that ends is
// started again from a new list.
func (a *Agent) pumpStore(ctx context.Context, w store.Watcher) {
	prefix := record.WorkPrefix(a.Name)
	for failures := 0; ctx.Err() == nil; {
		if w == nil {
			var err error
			if w, err = a.follow(ctx); err != nil {
				failures++
				a.Logger.Warn("the store cannot be watched; trying again", "node", a.Name, "error", err)
				if a.Clock.Wait(ctx, reconcile.Backoff(failures), nil) != nil {
					return
				}
				w = nil
				continue
			}
			failures = 0
		}
		b, err := w.Next(ctx)
		if err != nil {
			w.Close()
			w = nil
			continue
		}
		for _, e := range b.Events {
			a.due(strings.TrimPrefix(e.Key, prefix))
		}
	}
	if w != nil {
		w.Close()
	}
}

// due makes due what an entry of the work list may concern.
func (a *Agent) due(key string) {
	a.queue.Add(key)
	switch id, ok := strings.CutPrefix(key, keyInstance); {
	case ok:
		a.queue.Add(keyOps + id)
		a.queue.Add(keyFabric)
	case strings.HasPrefix(key, keyNetwork):
		a.queue.Add(keyFabric)
	}
}

// pumpHypervisor turns hints about machines into due keys.
func (a *Agent) pumpHypervisor(ctx context.Context, events driver.EventStream) {
	defer events.Close()
	for failures := 0; ctx.Err() == nil; {
		e, err := events.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			a.Logger.Warn("hypervisor events failed; the resync makes up for it", "node", a.Name, "error", err)
			if a.Clock.Wait(ctx, reconcile.Backoff(failures), nil) != nil {
				return
			}
		case e.ID == "":
			failures = 0
			a.queue.Add(keyResync)
		default:
			failures = 0
			a.queue.Add(keyInstance + e.ID)
		}
	}
}

// work handles due keys until ctx ends.
func (a *Agent) work(ctx context.Context) {
	for {
		key, err := a.queue.Next(ctx)
		if err != nil {
			return
		}
		after, err := a.reconcile(ctx, key)
		if ctx.Err() != nil {
			return
		}
		a.queue.Done(key, a.outcome(key, after, err))
	}
}

// outcome counts failures in a row and backs off.
func (a *Agent) outcome(key string, after time.Duration, err error) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.failures, key)
		return after
	}
	a.failures[key]++
	wait := reconcile.Backoff(a.failures[key])
	a.Logger.Warn("trying again", "node", a.Name, "what", key, "failures", a.failures[key], "in", wait, "error", err)
	return wait
}

// never is the answer of a reconciler that waits for an event.
const never = -1

func (a *Agent) reconcile(ctx context.Context, key string) (time.Duration, error) {
	switch key {
	case keyFabric:
		return a.reconcileFabric(ctx)
	case keySession:
		return a.reconcileSession(ctx)
	case keyResync:
		return a.resync(ctx)
	case keyJanitor:
		return a.janitor(ctx)
	case keyTend:
		return a.tend(ctx)
	}
	kind, id, _ := strings.Cut(key, "/")
	switch kind + "/" {
	case keyInstance:
		return a.reconcileInstance(ctx, id)
	case keyFetch:
		return never, a.fetch(ctx, id)
	case keyNetwork:
		return a.reconcileNetwork(ctx, id)
	case keyConsole:
		return a.watchConsole(ctx, id)
	case keyOps:
		return a.runOperations(ctx, id)
	case keySnapshot:
		return a.reconcileSnapshot(ctx, id)
	}
	a.Logger.Error("unknown key in the work list", "node", a.Name, "key", key)
	return never, nil
}

// event is a helper for events of this node.
func (a *Agent) event(kind spec.Kind, object, operation, phase, message string) spec.Event {
	return spec.Event{
		Time: a.Clock.Now(), Kind: kind, Object: object, Node: a.Name,
		Operation: operation, Phase: phase, Message: message,
	}
}

// missing reports that a record is not there.
func missing(err error) bool { return errors.Is(err, store.ErrNotFound) }
