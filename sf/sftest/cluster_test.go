package sftest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
)

// ttl is the sessions' time to live in a simulation: sf's default.
const ttl = 15 * time.Second

// three starts a cloud of three nodes with a network that each has a guest on, and
// returns the network, its guests by node, and the node that routes it.
func three(s *Sim) (network string, guests map[string]string, router *SimNode, err error) {
	ctx := s.Context(time.Hour)
	for _, n := range s.Nodes {
		if err := n.Start(ctx); err != nil {
			return "", nil, nil, err
		}
	}
	c := s.Nodes[0].Cloud
	made, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err != nil {
		return "", nil, nil, err
	}
	guests = map[string]string{}
	for _, n := range s.Nodes {
		i, err := c.CreateInstance(ctx, sf.System, sf.InstanceSpec{
			Name: "guest", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1, Base: "http://images/a"}},
			Interfaces: []sf.InterfaceSpec{{Network: made.UUID}}, PlacedOn: n.Name,
		})
		if err == nil {
			_, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		}
		if err != nil {
			return "", nil, nil, err
		}
		guests[n.Name] = i.UUID
	}
	for _, n := range s.Nodes {
		if n.Name == made.Node {
			router = n
		}
	}
	return made.UUID, guests, router, s.settle()
}

// other is a node that is not n.
func (s *Sim) other(n *SimNode) *SimNode {
	for _, o := range s.Nodes {
		if o != n {
			return o
		}
	}
	return nil
}

// A router whose node dies, hangs or is cut off works elsewhere within its session's
// time and 3 s, and never at two places (which the simulation itself looks for).
func TestRouterMoves(t *testing.T) {
	for what, harm := range map[string]func(*SimNode){
		"killed":   func(n *SimNode) { n.Kill() },
		"stopped":  func(n *SimNode) { n.Freeze(true) },
		"cut off":  func(n *SimNode) { n.Cut(true) },
		"no store": func(n *SimNode) { n.Cut(false) },
	} {
		t.Run(what, func(t *testing.T) {
			for seed := range uint64(10) {
				err := Simulate(SimConfig{Seed: seed, Nodes: 3}, func(s *Sim) error {
					network, _, was, err := three(s)
					if err != nil {
						return err
					}
					harm(was)
					c := s.other(was)
					for end := s.Now().Add(ttl + 3*time.Second); ; s.Sleep(100 * time.Millisecond) {
						n, err := c.Network(s.Context(time.Minute), network)
						if err != nil {
							return err
						}
						if to := s.node(n.Node); to != was && to.routes("/"+network+"/") {
							break
						}
						if s.Now().After(end) {
							return fmt.Errorf("%s still is the router, or the new one does not work", n.Node)
						}
					}
					return s.settle()
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (s *Sim) node(name string) *SimNode {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// An outage of the whole store stops nothing, however long it lasts.
func TestStoreOutage(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
		network, guests, router, err := three(s)
		if err != nil {
			return err
		}
		for _, n := range s.Nodes {
			n.Cut(false)
		}
		for range 600 {
			s.Sleep(time.Second)
			if !router.routes("/" + network + "/") {
				return errors.New("the router stopped for want of the store")
			}
			for node, id := range guests {
				m, err := s.node(node).Machine.Hypervisor().Inspect(s.Context(time.Minute), id)
				if err != nil || !m.State.On() {
					return fmt.Errorf("guest %s: %v, %v", id, m.State, err)
				}
			}
		}
		return s.settle()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A lost node's instances say so, are started again elsewhere with their addresses
// once its guard has surely stopped them, and are cleared away when it returns.
func TestRecover(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
		_, guests, _, err := three(s)
		if err != nil {
			return err
		}
		lost := s.Nodes[1]
		id, ctx := guests[lost.Name], s.Context(time.Hour)
		c := s.Nodes[0].Cloud
		before, err := c.InstanceInterfaces(ctx, id)
		if err != nil {
			return err
		}
		if _, err := c.RecoverInstance(ctx, id, true); !errors.Is(err, sf.ErrConflict) {
			return fmt.Errorf("recover beside a node that is there: %v", err)
		}
		lost.Kill()
		s.Sleep(ttl + 2*time.Second)
		if i, err := c.Instance(ctx, id); err != nil || i.Status.Unreachable.IsZero() {
			return fmt.Errorf("it is not said to be unreachable: %v", err)
		}
		if _, err := c.RecoverInstance(ctx, id, false); !errors.Is(err, sf.ErrConflict) {
			return fmt.Errorf("recover before the guard has struck: %v", err)
		}
		s.Sleep(time.Minute)
		i, err := c.RecoverInstance(ctx, id, false)
		if err == nil {
			i, err = c.WaitInstance(ctx, id, sf.PowerSettled(i.Power.Generation))
		}
		if err != nil || i.Node == lost.Name || i.Status.Power != sf.PowerOn {
			return fmt.Errorf("recovered: %+v, %v", i, err)
		}
		after, err := c.InstanceInterfaces(ctx, id)
		if err != nil || after[0].Address != before[0].Address || after[0].MAC != before[0].MAC || after[0].UUID != before[0].UUID {
			return fmt.Errorf("interface %+v became %+v, %v", before[0], after, err)
		}
		return s.settle() // which starts the lost node again and looks at what it has
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The operator's word opens exactly the window in which a machine runs twice: until
// its node returns, and does away with it first.
func TestRecoverByWord(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 2}, func(s *Sim) error {
		_, guests, _, err := three(s)
		if err != nil {
			return err
		}
		lost := s.Nodes[1]
		id, ctx := guests[lost.Name], s.Context(time.Hour)
		lost.Kill()
		s.Sleep(ttl + time.Second)
		if _, err := s.Nodes[0].RecoverInstance(ctx, id, true); err != nil {
			return err
		}
		if err := lost.Start(ctx); err != nil {
			return err
		}
		if m, err := lost.Machine.Hypervisor().Inspect(ctx, id); err == nil {
			return fmt.Errorf("the node is back and has a stale machine: %+v", m)
		}
		return s.settle()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is deleted by force counts as deleted at once, and gives back what it
// claims when its node returns or is removed.
func TestForceDelete(t *testing.T) {
	for _, remove := range []bool{false, true} {
		err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
			_, guests, _, err := three(s)
			if err != nil {
				return err
			}
			lost := s.Nodes[2]
			id, ctx, c := guests[lost.Name], s.Context(time.Hour), s.Nodes[0].Cloud
			lost.Kill()
			s.Sleep(ttl + time.Second)
			if err := c.ForceDeleteInstance(ctx, id); err != nil {
				return err
			}
			i, err := c.WaitInstance(s.Context(time.Second), id, sf.InstanceGone)
			if err != nil || i.Status.State != sf.StateDeleted || i.Deletion.Gone() {
				return fmt.Errorf("deleted by force: %+v, %v", i, err)
			}
			if remove {
				if err := c.RemoveNode(ctx, lost.Name); err != nil {
					return err
				}
				nodes, err := c.Nodes(ctx)
				if err != nil || len(nodes) != 2 {
					return fmt.Errorf("%d nodes are left, %v", len(nodes), err)
				}
				if i, err := c.Instance(ctx, id); err != nil || !i.Deletion.Gone() {
					return fmt.Errorf("its deletion has not ended with its node: %v", err)
				}
			}
			return s.settle()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A drained node has no routers any more and, where asked, no instances.
func TestDrain(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
		network, guests, router, err := three(s)
		if err != nil {
			return err
		}
		ctx, c := s.Context(time.Hour), s.other(router).Cloud
		d, err := c.DrainNode(ctx, router.Name, sf.DrainOptions{})
		if err != nil || len(d.Routers) != 1 || d.Routers[0] != network || d.Remains[guests[router.Name]] == "" {
			return fmt.Errorf("drained: %+v, %v", d, err)
		}
		if d, err = c.DrainNode(ctx, router.Name, sf.DrainOptions{Recover: true, Ask: 5 * time.Second}); err != nil || len(d.Recovered) != 1 || len(d.Remains) != 0 {
			return fmt.Errorf("drained with recover: %+v, %v", d, err)
		}
		if err := s.settle(); err != nil {
			return err
		}
		if i, err := c.Instance(ctx, guests[router.Name]); err != nil || i.Status.Power != sf.PowerOn || i.Node == router.Name {
			return fmt.Errorf("the drained instance: %+v, %v", i, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An image comes from its origin once, whatever happens to the node that has it:
// others have it by then. One that is said to have it and does not is done without.
func TestImagesFromNeighbours(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
		_, guests, _, err := three(s)
		if err != nil {
			return err
		}
		ctx, c := s.Context(time.Hour), s.Nodes[2].Cloud
		moved := func(downloads, copies int) error {
			f, k := 0, 0
			for _, n := range s.Nodes {
				f, k = f+n.Machine.Fetches(), k+n.Machine.Copied()
			}
			if f != downloads || k != copies {
				return fmt.Errorf("%d downloads and %d copies, not %d and %d", f, k, downloads, copies)
			}
			return s.settle()
		}
		if err := moved(1, 2); err != nil {
			return err
		}
		// Neither of the others answers, so it comes from its origin again.
		if err := c.DeleteInstance(ctx, guests["node3"]); err != nil {
			return err
		}
		if _, err := c.WaitInstance(ctx, guests["node3"], sf.InstanceGone); err != nil {
			return err
		}
		images, err := c.Images(ctx)
		if err != nil || len(images) != 1 {
			return fmt.Errorf("%d images, %v", len(images), err)
		}
		if err := c.DeleteImage(ctx, images[0].ID); err != nil {
			return err
		}
		s.Nodes[0].Freeze(true)
		s.Nodes[1].Freeze(true)
		i, err := c.CreateInstance(ctx, sf.System, sf.InstanceSpec{
			Name: "guest", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1, Base: "http://images/a"}}, PlacedOn: "node3",
		})
		if err == nil {
			_, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		}
		if err != nil {
			return err
		}
		return moved(2, 2)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// One node is the edge, and another as soon as that one is gone or drained; each
// host's segment knows all others.
func TestEdgeMoves(t *testing.T) {
	routed := func(cfg *sf.Config) { cfg.Node.Outside = sf.Outside{Mode: netfab.Routed} }
	for seed := range uint64(5) {
		err := Simulate(SimConfig{Seed: seed, Nodes: 3, Cloud: routed}, func(s *Sim) error {
			if _, _, _, err := three(s); err != nil {
				return err
			}
			ctx := s.Context(time.Hour)
			edge := func(by *SimNode) (*SimNode, error) {
				n, err := by.Cloud.Network(ctx, sf.FloatingNetwork)
				if err != nil {
					return nil, err
				}
				for _, h := range s.Nodes {
					have, err := fabric.New(fabric.Config{Host: h.Fabric, Tag: "sim/" + h.Name}).Observe(ctx)
					o := have.Outside
					if err != nil || h.proc != nil && !h.Impaired() && (o.Mode != netfab.Routed || len(o.Peers) != 2 || o.Edge != (h.Name == n.Node)) {
						return nil, fmt.Errorf("%s is the edge, and %s has %s, %v", n.Node, h.Name, o, err)
					}
				}
				return s.node(n.Node), nil
			}
			was, err := edge(s.Nodes[0])
			if err != nil {
				return err
			}
			for what, harm := range []func(*SimNode){(*SimNode).Kill, func(n *SimNode) { n.Cut(true) }} {
				harm(was)
				s.Sleep(ttl + 4*time.Second)
				now, err := edge(s.other(was))
				if err != nil || now == was {
					return fmt.Errorf("harm %d: %s is still the edge, %v", what, was.Name, err)
				}
				if err := s.settle(); err != nil {
					return err
				}
				was = now
			}
			d, err := s.other(was).DrainNode(ctx, was.Name, sf.DrainOptions{})
			if err != nil || !slices.Contains(d.Routers, sf.FloatingNetwork) {
				return fmt.Errorf("drained: %+v, %v", d, err)
			}
			s.Sleep(time.Second)
			if now, err := edge(s.other(was)); err != nil || now == was {
				return fmt.Errorf("drained: %s is still the edge, %v", was.Name, err)
			}
			return s.settle()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Who waits for another version of a record gets it also where the node has nothing to
// report: when an instance of a node that is gone is wanted otherwise, and when a
// network's router moves, by a drain and by an heir.
func TestWaitersAreWoken(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
		network, guests, router, err := three(s)
		if err != nil {
			return err
		}
		ctx, c := s.Context(time.Hour), s.other(router).Cloud
		moved := func(how string, move func() error) error {
			was, err := c.Network(ctx, network)
			if err != nil {
				return err
			}
			woken := false
			s.Go("waits", func() {
				n, err := c.WaitNetwork(ctx, network, func(n *sf.Network) (bool, error) { return n.Version != was.Version, nil })
				woken = err == nil && n.Node != was.Node
			})
			s.Sleep(time.Second)
			if err := move(); err != nil {
				return err
			}
			s.Sleep(time.Minute)
			if !woken {
				return fmt.Errorf("who waits for a network's other router, by %s, was not woken", how)
			}
			return nil
		}
		err = moved("a drain", func() error {
			d, err := c.DrainNode(ctx, router.Name, sf.DrainOptions{})
			if err == nil && len(d.Routers) == 0 {
				err = fmt.Errorf("it has no router: %+v", d)
			}
			return errors.Join(err, c.UncordonNode(ctx, router.Name))
		})
		if err != nil {
			return err
		}
		n, err := c.Network(ctx, network)
		if err != nil {
			return err
		}
		for _, node := range s.Nodes {
			if node.Name == n.Node {
				router = node
			}
		}
		c = s.other(router).Cloud
		if err := moved("an heir", func() error { router.Cut(true); return nil }); err != nil {
			return err
		}
		id := guests[router.Name]
		was, err := c.Instance(ctx, id)
		if err != nil {
			return err
		}
		woken := false
		s.Go("waits", func() {
			i, err := c.WaitInstance(ctx, id, func(i *sf.Instance) (bool, error) { return i.Version != was.Version, nil })
			woken = err == nil && i.Power.Want == sf.PowerOff
		})
		s.Sleep(time.Second)
		if _, err := c.SetPower(ctx, id, sf.PowerOff); err != nil {
			return err
		}
		s.Sleep(time.Minute)
		if !woken {
			return fmt.Errorf("who waits for an instance of a node that is gone was not woken by another wish for its power")
		}
		router.Mend()
		return s.settle()
	})
	if err != nil {
		t.Fatal(err)
	}
}
