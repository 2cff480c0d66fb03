package sftest

import (
	"context"
	"net/netip"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
)

// SimNode is a host of a simulation. Its machines and networks outlive the
// process that made them. A head has none: its process only serves calls.
type SimNode struct {
	Name      string
	Address   netip.Addr   // on the simulated underlay
	Machine   *fake.Host   // nil of a head
	Fabric    *fabric.Host // nil of a head
	*sf.Cloud              // of its process, nil while none runs

	sim      *Sim
	proc     *process
	frozen   bool          // its process is stopped (SIGSTOP)
	cut      bool          // its process does not reach the store
	isolated bool          // nor any other node
	apart    bool          // nor any but those that are apart too
	Skew     time.Duration // of its clock; to be set before it is started
	slow     time.Duration // each call of its hypervisor and volumes takes so long
	lapsing  bool          // renewals of its process's session are lost
	until    time.Time     // its guard lets machines run; zero: it was never told
}

// process is one run of a daemon.
type process struct {
	node *SimNode
	dead bool
}

// Start runs a daemon on the node.
func (n *SimNode) Start(ctx context.Context) error {
	n.Kill()
	p := &process{node: n}
	n.proc = p
	s := n.sim
	was := s.current.proc
	s.current.proc = p // opening is the new process's doing
	defer func() { s.current.proc = was }()
	cfg := sf.Config{
		Store: simStore{s.Store, s, p}, Clock: simClock{s, p}, Rand: s.chaos,
		Go: func(name string, loop func()) { s.add(name, p, loop) },
	}
	if n.Machine != nil {
		cfg.Node = &sf.NodeConfig{
			Name: n.Name, Address: n.Address, EndpointKey: "key of " + n.Name, Workers: 3, Transfers: 3,
			Peers: simPeers{s, p}, Guard: simGuard{s, p}, SelfFence: 20 * time.Second,
			Hypervisor: simHypervisor{n.Machine.Hypervisor(), s, p}, Volumes: n.Machine.Volumes(),
			Fabric: fabric.New(fabric.Config{Host: n.Fabric, Tag: "sim/" + n.Name, Hook: n.fabricHook, Now: func() time.Time { return s.now }}),
		}
	}
	if s.cfg.Cloud != nil {
		s.cfg.Cloud(&cfg)
	}
	c, err := sf.Open(ctx, cfg)
	if err != nil {
		n.Kill()
		return err
	}
	n.Cloud = c
	return nil
}

// Kill ends the node's process at once, as kill -9 does. Killing none is nothing.
func (n *SimNode) Kill() {
	defer func() { n.frozen, n.cut, n.isolated, n.apart, n.lapsing = false, false, false, false, false }()
	if n.proc == nil {
		return
	}
	n.proc.dead = true
	s := n.sim
	was := s.current
	s.draining = true
	for { // each ends at its next call, which fails
		a := n.loop()
		if a == nil {
			break
		}
		s.current = a
		a.resume <- struct{}{}
		<-a.done
	}
	s.current, s.draining = was, false
	n.proc, n.Cloud = nil, nil
}

// Freeze stops the node's process as SIGSTOP does, or lets it go on.
func (n *SimNode) Freeze(frozen bool) { n.frozen = frozen }

// Cut keeps the node's process from the store and, with all, from other nodes'
// processes too, until Mend.
func (n *SimNode) Cut(all bool) { n.cut, n.isolated = true, all }

// Part cuts nodes off together: they reach each other, and nothing else.
func (s *Sim) Part(nodes ...*SimNode) {
	for _, n := range nodes {
		n.cut, n.apart = true, true
	}
}

// Mend undoes Cut and Part.
func (n *SimNode) Mend() {
	n.cut, n.isolated, n.apart = false, false, false
	n.sim.records++
}

// Lapse loses the renewals of the session that the node's process has, until it has
// run out; everything else reaches the store.
func (n *SimNode) Lapse() { n.lapsing = true }

// Slow makes every call of the node's hypervisor and volumes take d.
func (n *SimNode) Slow(d time.Duration) { n.slow = d }

// Impaired reports whether the node's process is frozen or cut off.
func (n *SimNode) Impaired() bool { return n.frozen || n.cut }

// guard is the host's dead-man's switch for machines.
func (n *SimNode) guard() {
	for {
		n.sim.wait(func() bool { return !n.until.IsZero() && !n.sim.now.Before(n.until) }, n.until)
		if n.until.IsZero() || n.sim.now.Before(n.until) {
			continue
		}
		n.until = time.Time{}
		n.sim.fenced++
		n.sim.note(n.Name + " guard stops the machines")
		v := n.Machine.Hypervisor()
		machines, _ := v.List(context.Background())
		for _, m := range machines {
			if n.Dead() {
				_ = v.Destroy(context.Background(), m.ID)
			} else if m.State.On() { // the process may be in the middle of anything with it
				_ = n.Machine.Crash(m.ID, "ended by the node's guard")
			}
		}
	}
}

func (n *SimNode) loop() *actor {
	for _, a := range n.sim.actors {
		if a.proc == n.proc && a != n.sim.current {
			return a
		}
	}
	return nil
}

// Dead reports whether the node's process was killed by a fault.
func (n *SimNode) Dead() bool { return n.proc == nil || n.proc.dead }

// hook makes every call of the hypervisor and the volumes two steps.
func (n *SimNode) hook(_ context.Context, c fake.Call) error {
	what := c.Method
	if c.Done {
		what += " done"
	}
	n.sim.hosts++
	if p := n.sim.current.proc; n.slow > 0 && !c.Done && p != nil && !p.dead {
		n.sim.wait(func() bool { return p.dead }, n.sim.now.Add(n.slow))
	}
	return n.sim.step(n.sim.current.proc, what+" "+c.ID, c.Done)
}
