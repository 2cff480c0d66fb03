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
	"io"
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
	Outside Outside

	CPUOvercommit     float64
	MemoryOvercommit  float64
	ReservedMemoryMiB int
	MaxInstances      int
	MinFreeDisk       int64 // bytes

	Workers    int
	Transfers  int
	SessionTTL time.Duration
	SelfFence  time.Duration // with Guard
	Guard      Guard         // may be nil
	MTU        int           // of the underlay; 0 where unknown
	Peers      Peers         // nil: they cannot be asked

	Endpoint, EndpointKey string
	Version               string
	DNS                   []netip.Addr
	Names                 bool      // guests' names are answered at their router's address
	Rand                  io.Reader // chance, for what others must not guess
	Zone                  string
	DiskBus               string
	Keep                  time.Duration // deleted records stay readable for so long

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
	vital   *reconcile.Queue // what other nodes count on, each key with a worker of its own
	slow    *reconcile.Queue // what takes as long as it takes: downloads and copies
	cancel  context.CancelFunc
	running int           // loops, under mu
	stopped chan struct{} // capacity 1: the last loop ended

	outageSince time.Time // others have been saying so; zero while they do not; the key "keep" alone uses it

	mu        sync.Mutex
	seen      time.Time // last written
	session   store.Session
	held      time.Time            // since when there is a session, and the store is reached
	renewed   time.Time            // last
	guarded   time.Time            // the guard lets machines run until then
	lapse     [2]time.Time         // when it last did not: from and until
	instances map[string]*instance // what is known beyond the records, by UUID
	view      view
	fabric    fabricState
	ports     map[string]*ports // of running instances
	copies    map[string]*copyState
	turns     []turn         // whose images are to be fetched, first come first served
	failures  map[string]int // in a row, by key

	measures measures
}

// How often things are looked at that no event announces.
const (
	resyncEvery  = 30 * time.Second
	fabricEvery  = 10 * time.Second
	janitorEvery = 10 * time.Minute
)

// closeTimeout bounds how long Close waits for a driver call under way.
const closeTimeout = 30 * time.Second

// vitals are how many keys there are in the vital queue: the session, what is said of
// it, what it keeps going, the routers and the fabric. Instances, of which there are many and whose hypervisor may hang, never
// keep these waiting: a node that is merely busy would count as gone.
const vitals = 5

// Keys of the queues. The rest of a key names the object.
const (
	keyInstance = "instance/"
	keyFetch    = "fetch/"
	keyCopy     = "copy/"
	keyNetwork  = "network/"
	keyConsole  = "console/"
	keySnapshot = "snapshot/"
	keyOps      = "operation/"
	keyFabric   = "fabric"
	keySession  = "session"
	keySeen     = "seen"
	keyKeep     = "keep"
	keyResync   = "resync"
	keyJanitor  = "janitor"
	keyTend     = "tend"
	keyRouters  = "routers"
	keyLost     = "lost/"
)

// Start registers the node and starts its loops.
func Start(ctx context.Context, cfg Config) (*Agent, error) {
	a := &Agent{
		Config: cfg, queue: reconcile.New(cfg.Clock), slow: reconcile.New(cfg.Clock), vital: reconcile.New(cfg.Clock),
		stopped:   make(chan struct{}, 1),
		instances: map[string]*instance{}, ports: map[string]*ports{}, copies: map[string]*copyState{}, failures: map[string]int{},
	}
	a.fabric.init()
	a.view.init()
	if err := a.register(ctx); err != nil {
		return nil, err
	}
	events, err := cfg.Hypervisor.Events(ctx)
	if err != nil {
		return nil, fmt.Errorf("hypervisor events: %w", err)
	}
	var watches []store.Watcher
	for _, m := range a.mirrors() {
		w, err := a.open(ctx, m)
		if err != nil {
			for _, w := range watches {
				w.Close()
			}
			events.Close()
			return nil, err
		}
		watches = append(watches, w)
	}
	if err := a.reap(ctx); err != nil { // others may run now what ran here
		a.Logger.Warn("the host could not be cleared yet of what is not its own any more", "node", a.Name, "error", err)
	}
	a.keep(ctx)
	a.vital.AddAfter(keySession, a.SessionTTL/3)
	a.vital.AddAfter(keyKeep, a.SessionTTL/6)
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	for i, m := range a.mirrors() {
		a.spawn("store/"+m.prefix, func() { a.keepUp(loops, m, watches[i]) })
	}
	if w, ok := netfab.As[netfab.Watcher](cfg.Fabric); ok {
		a.spawn("fabric", func() { a.watchFabric(loops, w) })
	}
	a.spawn("hypervisor", func() { a.pumpHypervisor(loops, events) })
	for i := range cfg.Workers {
		a.spawn(fmt.Sprintf("worker-%d", i), func() { a.work(loops, a.queue) })
	}
	for i := range vitals {
		a.spawn(fmt.Sprintf("vital-%d", i), func() { a.work(loops, a.vital) })
	}
	for i := range cfg.Transfers {
		a.spawn(fmt.Sprintf("transfer-%d", i), func() { a.work(loops, a.slow) })
	}
	return a, nil
}

// Close stops the loops and waits for them. Machines and networks stay. The
// session of a node that stands alone ends; that of one among others runs out, so
// that a restart in the meantime moves no router.
func (a *Agent) Close() error {
	a.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.Clock.Wait(ctx, -1, a.stopped); err != nil {
		return fmt.Errorf("node %s: its loops do not end: %w", a.Name, err)
	}
	a.stopped <- struct{}{} // for who closes it again
	if a.mesh() {
		return nil
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

// mirrors are what the agent follows of the store for as long as it runs.
func (a *Agent) mirrors() []mirror {
	all := []mirror{a.nodesMirror(), a.liveMirror(), a.workMirror()}
	if a.Outside.Mode == netfab.Routed {
		all = append(all, a.edgeMirror())
	}
	return all
}

// workMirror makes what is on this node's work list due, and again when it is
// written again.
func (a *Agent) workMirror() mirror {
	prefix := record.WorkPrefix(a.Name)
	return mirror{
		prefix: prefix,
		reset: func(all []store.Record) {
			a.resetNetworks(all)
			for _, r := range all {
				a.due(strings.TrimPrefix(r.Key, prefix))
			}
			a.vital.Add(keyFabric)
			for _, key := range []string{keyResync, keyJanitor, keyTend} {
				a.queue.Add(key)
			}
		},
		change: func(e store.Event) {
			a.noteNetwork(e)
			a.due(strings.TrimPrefix(e.Key, prefix))
		},
	}
}

// due makes due what an entry of the work list may concern.
func (a *Agent) due(key string) {
	a.queue.Add(key)
	switch id, ok := strings.CutPrefix(key, keyInstance); {
	case ok:
		a.queue.Add(keyOps + id)
		a.vital.Add(keyFabric)
	case strings.HasPrefix(key, keyNetwork):
		a.vital.Add(keyFabric)
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

// watchFabric has the fabric repaired when others change it.
func (a *Agent) watchFabric(ctx context.Context, w netfab.Watcher) {
	for failures := 0; ctx.Err() == nil; {
		err := w.Changed(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
		default:
			failures++
			a.Logger.Warn("changes of this host's networks may have been missed; the resync makes up for it", "node", a.Name, "error", err)
			if a.Clock.Wait(ctx, reconcile.Backoff(failures), nil) != nil {
				return
			}
		}
		a.vital.Add(keyFabric)
	}
}

// work handles a queue's due keys until ctx ends.
func (a *Agent) work(ctx context.Context, queue *reconcile.Queue) {
	for {
		key, err := queue.Next(ctx)
		if err != nil {
			return
		}
		start := a.Clock.Now()
		after, err := a.reconcile(ctx, key)
		if ctx.Err() != nil {
			return
		}
		a.measures.took(key, a.Clock.Now().Sub(start), err)
		queue.Done(key, a.outcome(key, after, err))
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
	case keyKeep:
		return a.reconcileKeep(ctx), nil
	case keySeen:
		a.noteSeen(ctx)
		return never, nil
	case keyResync:
		return a.resync(ctx)
	case keyJanitor:
		return a.janitor(ctx)
	case keyTend:
		return a.tend(ctx)
	case keyRouters:
		return a.reconcileRouters(ctx)
	}
	kind, id, _ := strings.Cut(key, "/")
	switch kind + "/" {
	case keyInstance:
		return a.reconcileInstance(ctx, id)
	case keyFetch:
		return never, a.fetch(ctx, id)
	case keyCopy:
		return never, a.copyDisks(ctx, id)
	case keyNetwork:
		return a.reconcileNetwork(ctx, id)
	case keyConsole:
		return a.watchConsole(ctx, id)
	case keyOps:
		return a.runOperations(ctx, id)
	case keySnapshot:
		return a.reconcileSnapshot(ctx, id)
	case keyLost:
		return a.reportLost(ctx, id)
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
