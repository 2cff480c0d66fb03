package sftest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// Errors that a simulated process meets.
var (
	// ErrKilled is what every call of a killed process returns: nothing it does
	// after that moment has an effect.
	ErrKilled = errors.New("sftest: the process was killed")
	// ErrInjected is the error of a call that was made to fail.
	ErrInjected = errors.New("sftest: injected fault")
)

// Fault is what goes wrong at a step.
type Fault uint8

// Faults.
const (
	NoFault   Fault = iota
	Fail            // the call does not happen
	LoseReply       // the call happens and its caller is told that it failed
	Kill            // the process that made the call dies there and then
)

// Step is one point where a run can take another course: a process is about to
// make a call, or has made it and not yet heard.
type Step struct {
	N    int    // counts from 1
	Node string // whose process it is
	What string // "store commit", "Start <uuid> done", "apply"
	Done bool   // the call has happened
}

func (s Step) String() string { return s.Node + " " + s.What }

// SimConfig of a simulation.
type SimConfig struct {
	Seed  uint64
	Nodes int              // 0 is 1
	Heads int              // processes that only serve calls, beside the nodes
	Fault func(Step) Fault // nil is none; it is called once per step, in order
	Cloud func(*sf.Config) // adjusts the configuration of every process
}

// Sim is a cloud that runs one step at a time. Of everything that could go on,
// the loops of its agents and the test's own calls, one at a time does, up to its
// next call of a store, a driver, a fabric or the clock; which is next is drawn
// from the seed. The same seed, configuration and test give the same run.
type Sim struct {
	cfg   SimConfig
	rng   *rand.Rand
	chaos *rand.ChaCha8 // the processes' source of chance
	now   time.Time

	actors   []*actor
	current  *actor
	records  int                           // changes of the store, for which its watches are polled
	hosts    int                           // and of hosts, for their streams of events
	sessions map[store.SessionID]time.Time // when they run out, unless renewed
	expiry   time.Time                     // the first of them; zero without any

	draining bool // Kill lets actors of a dead process end, one by one

	broken []string // what must never be, seen as it happened

	steps     int
	recovered int // instances, by the test, after their node's fence
	byWord    int // and by its word
	fenced    int // hosts whose guard stopped their machines
	moved     int // routers, by their heirs
	trace     uint64
	last      []string // the last few steps, for a failure's message

	Store store.Store
	Nodes []*SimNode
	Heads []*SimNode
}

// actor is a line of execution. Only the current one runs.
type actor struct {
	name   string
	proc   *process // nil for the test itself
	resume chan struct{}
	done   chan struct{}
	ready  func() bool // nil: always
	until  time.Time   // ready then whatever else; zero: never
}

// Simulate runs test in a new simulation, and ends all its processes afterwards.
// The error, if any, names the seed and how far the run got.
func Simulate(cfg SimConfig, test func(*Sim) error) error {
	s := &Sim{cfg: cfg, sessions: map[store.SessionID]time.Time{}, now: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
	s.rng = rand.New(rand.NewPCG(cfg.Seed, 1))
	var key [32]byte
	copy(key[:], fmt.Sprintf("sftest %d", cfg.Seed))
	s.chaos = rand.NewChaCha8(key)
	s.Store = memory.New(memory.Config{Now: func() time.Time { return s.now }})
	for i := range max(cfg.Nodes, 1) {
		n := &SimNode{Name: fmt.Sprintf("node%d", i+1), sim: s, Fabric: fabric.NewHost()}
		n.Address = netip.AddrFrom4([4]byte{10, 64, byte((i + 1) >> 8), byte(i + 1)})
		n.Machine = fake.NewHost(fake.Config{Now: n.now, Hook: n.hook, Neighbour: n.neighbour})
		s.Nodes = append(s.Nodes, n)
	}
	for _, n := range s.Nodes {
		s.Go("guard/"+n.Name, n.guard)
	}
	for i := range cfg.Heads {
		s.Heads = append(s.Heads, &SimNode{Name: fmt.Sprintf("head%d", i+1), sim: s})
	}
	err := s.run(test)
	if err != nil {
		return fmt.Errorf("seed %d, step %d: %w\nlast steps:\n  %s", cfg.Seed, s.steps, err, strings.Join(s.last, "\n  "))
	}
	return nil
}

// all are the hosts that processes run on.
func (s *Sim) all() []*SimNode { return append(slices.Clip(s.Nodes), s.Heads...) }

// testActor runs the test; when it ends, so does the run.
const testActor = "test"

func (s *Sim) run(test func(*Sim) error) error {
	var err error
	a := s.add(testActor, nil, func() { err = test(s) })
	s.current = a
	a.resume <- struct{}{}
	<-a.done
	for _, n := range s.all() {
		n.Kill()
	}
	return err
}

// add makes an actor that waits to be resumed.
func (s *Sim) add(name string, p *process, body func()) *actor {
	a := &actor{name: name, proc: p, resume: make(chan struct{}, 1), done: make(chan struct{})}
	s.actors = append(s.actors, a)
	go func() {
		<-a.resume
		body()
		for i := range s.actors {
			if s.actors[i] == a {
				s.actors = append(s.actors[:i:i], s.actors[i+1:]...)
				break
			}
		}
		main, draining := p == nil && name == testActor, s.draining
		close(a.done)
		if !main && !draining {
			s.switchTo(s.pick())
		}
	}()
	return a
}

// yield lets others run until ready says so, or the simulated time is until.
func (s *Sim) yield(ready func() bool, until time.Time) {
	if s.current.proc == nil {
		s.hosts++ // the test may have done something to one
	}
	s.wait(ready, until)
}

// wait is yield for who has done nothing that others may be polling for.
func (s *Sim) wait(ready func() bool, until time.Time) {
	a := s.current
	a.ready, a.until = ready, until
	if next := s.pick(); next != a {
		s.switchTo(next)
		<-a.resume
	}
	s.advance(s.now.Add(time.Microsecond))
}

// advance lets time pass, and sessions run out with it.
func (s *Sim) advance(to time.Time) {
	s.now = to
	if s.expiry.IsZero() || to.Before(s.expiry) {
		return
	}
	s.records++
	s.expiry = time.Time{}
	for id, end := range s.sessions {
		if !to.Before(end) {
			delete(s.sessions, id)
		} else if s.expiry.IsZero() || end.Before(s.expiry) {
			s.expiry = end
		}
	}
}

// renewed notes that the store keeps a session until then.
func (s *Sim) renewed(id store.SessionID, until time.Time) {
	s.sessions[id] = until
	if s.expiry.IsZero() || until.Before(s.expiry) {
		s.expiry = until
	}
}

func (s *Sim) switchTo(a *actor) {
	s.current = a
	a.resume <- struct{}{}
}

// pick draws one of the actors that can run; where none can, time passes.
func (s *Sim) pick() *actor {
	for {
		var can []*actor
		var next time.Time
		for _, a := range s.actors {
			switch {
			case a.proc != nil && a.proc.node.frozen:
			case a.ready == nil, a.ready(), !a.until.IsZero() && !s.now.Before(a.until):
				can = append(can, a)
			case !a.until.IsZero() && (next.IsZero() || a.until.Before(next)):
				next = a.until
			}
		}
		if len(can) > 0 {
			return can[s.rng.IntN(len(can))]
		}
		if next.IsZero() {
			var names []string
			for _, a := range s.actors {
				names = append(names, a.name)
			}
			panic(fmt.Sprintf("sftest: seed %d: everything waits for ever: %s\n  %s", s.cfg.Seed, strings.Join(names, ", "), strings.Join(s.last, "\n  ")))
		}
		s.advance(next)
	}
}

// step is a point where the run can take another course.
func (s *Sim) step(p *process, what string, done bool) error {
	if p == nil {
		return nil
	}
	if p.dead {
		return ErrKilled
	}
	s.steps++
	step := Step{N: s.steps, Node: p.node.Name, What: what, Done: done}
	s.note(step.String())
	fault := NoFault
	if s.cfg.Fault != nil {
		fault = s.cfg.Fault(step)
	}
	if fault == Kill {
		p.dead = true
		return ErrKilled
	}
	s.yield(p.awake(), time.Time{})
	switch {
	case p.dead:
		return ErrKilled
	case fault == Fail && !done, fault == LoseReply && done:
		return ErrInjected
	}
	return nil
}

// awake is when a call of the process goes on: at once, but where it is frozen.
func (p *process) awake() func() bool {
	if !p.node.frozen {
		return nil
	}
	return func() bool { return !p.node.frozen || p.dead }
}

// keepLast is how many steps a failure shows.
const keepLast = 40

func (s *Sim) note(what string) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s %d", s.trace, what, s.now.UnixNano())
	s.trace = h.Sum64()
	if len(s.last) == keepLast {
		s.last = append(s.last[:0], s.last[1:]...)
	}
	s.last = append(s.last, fmt.Sprintf("%d %s", s.steps, what))
}

// Trace is a digest of all steps so far: equal for equal runs.
func (s *Sim) Trace() uint64 { return s.trace }

// Steps is how many steps there were so far.
func (s *Sim) Steps() int { return s.steps }

// Now is the simulated time.
func (s *Sim) Now() time.Time { return s.now }

// Rand is the test's own source of chance, part of the seed.
func (s *Sim) Rand() *rand.Rand { return s.rng }

// Sleep lets everything else run for d of simulated time.
func (s *Sim) Sleep(d time.Duration) {
	s.yield(func() bool { return false }, s.now.Add(d))
}

// Context returns a context that ends after d of simulated time.
func (s *Sim) Context(d time.Duration) context.Context {
	return simContext{context.Background(), s, s.now.Add(d)}
}

type simContext struct {
	context.Context
	sim   *Sim
	until time.Time
}

func (c simContext) Deadline() (time.Time, bool) { return c.until, true }

func (c simContext) Err() error {
	if c.sim.now.Before(c.until) {
		return nil
	}
	return context.DeadlineExceeded
}

// Go runs f beside the test.
func (s *Sim) Go(name string, f func()) { s.add(name, nil, f) }
