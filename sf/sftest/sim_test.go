package sftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
)

// rounds is how many seeds a test runs: SF_SIM_ROUNDS in `make soak`.
func rounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("SF_SIM_ROUNDS")); err == nil {
		return n
	}
	return usual
}

// views are the hosts of a simulation as Invariants wants them.
func (s *Sim) views() []HostView {
	var views []HostView
	for _, n := range s.Nodes {
		views = append(views, HostView{n.Name, n.Machine.Hypervisor(), n.Machine.Volumes(), fabric.New(fabric.Config{Host: n.Fabric, Tag: "sim/" + n.Name})})
	}
	return views
}

// check is Invariants outside the run's own steps.
func (s *Sim) check(quiet bool) error {
	was := s.current.proc
	s.current.proc = nil
	defer func() { s.current.proc = was }()
	wrong, err := Invariants(context.Background(), s.Store, s.views(), quiet)
	if err != nil {
		return err
	}
	if wrong = append(wrong, s.broken...); len(wrong) > 0 {
		return errors.New("invariants broken:\n  " + strings.Join(wrong, "\n  "))
	}
	return nil
}

// settle heals everything and waits until nothing is left to do.
func (s *Sim) settle() error {
	s.cfg.Fault = nil
	var err error
	for range 200 {
		for _, n := range s.Nodes {
			n.Freeze(false)
			n.Mend()
			n.Machine.Heal()
			n.Machine.MakeRoom()
			if n.Dead() {
				if err := n.Start(s.Context(time.Hour)); err != nil {
					return fmt.Errorf("start %s: %w", n.Name, err)
				}
			}
		}
		s.Sleep(5 * time.Second)
		if err = s.check(true); err == nil {
			return nil
		}
	}
	return fmt.Errorf("it does not come to rest: %w", err)
}

// story is create, use and delete, with whatever goes wrong on the way.
func story(s *Sim) error {
	ctx := s.Context(24 * time.Hour)
	alive := func() (*sf.Cloud, error) {
		n := s.Nodes[0]
		for n.Dead() {
			if err := n.Start(ctx); err != nil && !errors.Is(err, ErrKilled) && !errors.Is(err, ErrInjected) {
				return nil, err
			}
		}
		return n.Cloud, nil
	}
	// try repeats a call as a user would whose daemon may have died.
	try := func(call func(c *sf.Cloud) error) error {
		for range 50 {
			c, err := alive()
			if err != nil {
				return err
			}
			err = call(c)
			switch {
			case err == nil, errors.Is(err, sf.ErrNotFound):
				return nil
			case !errors.Is(err, ErrKilled) && !errors.Is(err, ErrInjected) && !errors.Is(err, sf.ErrUnavailable):
				return err
			}
		}
		return errors.New("a call fails for ever")
	}
	var net, inst string
	err := try(func(c *sf.Cloud) error {
		n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "n", Netblock: "10.0.0.0/28", DHCP: true, NAT: true, IdempotencyKey: "net"})
		if err == nil {
			net = n.UUID
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("create network: %w", err)
	}
	err = try(func(c *sf.Cloud) error {
		i, err := c.CreateInstance(ctx, sf.System, sf.InstanceSpec{
			Name: "one", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1, Base: "http://images/a"}, {SizeGB: 1}},
			Interfaces: []sf.InterfaceSpec{{Network: net}}, IdempotencyKey: "inst", UserData: []byte("x"),
		})
		if err == nil {
			inst = i.UUID
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("create instance: %w", err)
	}
	err = try(func(c *sf.Cloud) error {
		_, err := c.WaitInstance(ctx, inst, sf.InstanceCreated)
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for the instance: %w", err)
	}
	if err := s.check(false); err != nil {
		return err
	}
	if err := try(func(c *sf.Cloud) error { return c.DeleteInstance(ctx, inst) }); err != nil {
		return fmt.Errorf("delete instance: %w", err)
	}
	err = try(func(c *sf.Cloud) error {
		_, err := c.WaitInstance(ctx, inst, sf.InstanceGone)
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for the instance to go: %w", err)
	}
	if err := try(func(c *sf.Cloud) error { return c.DeleteNetwork(ctx, net) }); err != nil {
		return fmt.Errorf("delete network: %w", err)
	}
	if err := s.settle(); err != nil {
		return err
	}
	return s.empty()
}

// empty says what is left on hosts where nothing should be.
func (s *Sim) empty() error {
	for _, h := range s.views() {
		machines, _ := h.Hypervisor.List(context.Background())
		volumes, _ := h.Volumes.List(context.Background())
		have, _ := h.Fabric.Observe(context.Background())
		if len(machines)+len(volumes)+len(have.Networks)+len(have.Stray) > 0 {
			return fmt.Errorf("left on %s: machines %v, volumes %v, networks %v, stray %v", h.Node, machines, volumes, have.Networks, have.Stray)
		}
	}
	return nil
}

func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) (trace uint64, steps int) {
		err := Simulate(SimConfig{Seed: seed, Nodes: 2}, func(s *Sim) error {
			defer func() { trace, steps = s.Trace(), s.Steps() }()
			return chaos(s, 30)
		})
		if err != nil {
			t.Fatal(err)
		}
		return trace, steps
	}
	one, steps := run(7)
	two, _ := run(7)
	other, _ := run(8)
	if one != two {
		t.Errorf("seed 7 gave two runs: %x and %x", one, two)
	}
	if one == other {
		t.Error("seeds 7 and 8 gave the same run")
	}
	t.Logf("%d steps", steps)
}

// sweep runs the story once for every step n of it, with fault at that step.
func sweep(t *testing.T, fault Fault, matters func(Step) bool) {
	t.Helper()
	every := 1
	if testing.Short() {
		every = 7
	}
	runs := 0
	for n := 1; ; n += every {
		hit := false
		seen := 0
		err := Simulate(SimConfig{Seed: uint64(n), Fault: func(s Step) Fault {
			if !matters(s) {
				return NoFault
			}
			if seen++; seen != n {
				return NoFault
			}
			hit = true
			return fault
		}}, story)
		if err != nil {
			t.Fatalf("fault at step %d: %v", n, err)
		}
		if !hit {
			break
		}
		runs++
	}
	t.Logf("%d runs, a fault at another step in each", runs)
	if runs < 20 {
		t.Fatalf("only %d steps were tried: the sweep does not sweep", runs)
	}
}

func TestKillAtEveryStep(t *testing.T) {
	sweep(t, Kill, func(Step) bool { return true })
}

func TestFailEveryCall(t *testing.T) {
	sweep(t, Fail, func(s Step) bool { return !s.Done })
}

func TestLoseEveryReply(t *testing.T) {
	sweep(t, LoseReply, func(s Step) bool { return s.Done })
}

// chaos does n random things to a cloud and its hosts, then lets it come to rest.
func chaos(s *Sim, n int) error {
	ctx := s.Context(1000 * time.Hour)
	r := s.Rand()
	var networks, instances, interfaces, snapshots []string
	one := func(list []string) string {
		if len(list) == 0 {
			return "none"
		}
		return list[r.IntN(len(list))]
	}
	for range n {
		node := s.Nodes[r.IntN(len(s.Nodes))]
		if node.Dead() {
			if r.IntN(2) == 0 {
				s.Sleep(time.Duration(r.IntN(40)) * time.Second)
				continue
			}
			if err := node.Start(ctx); err != nil && !errors.Is(err, ErrKilled) && !errors.Is(err, ErrInjected) {
				return err
			}
			continue
		}
		if node.Impaired() && r.IntN(3) == 0 {
			node.Freeze(false)
			node.Mend()
		}
		if node.frozen {
			s.Sleep(time.Duration(r.IntN(30)) * time.Second)
			continue
		}
		c, err := node.Cloud, error(nil)
		switch r.IntN(26) {
		case 0, 1:
			var made *sf.Network
			if made, err = c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/29", DHCP: true, NAT: r.IntN(2) == 0}); err == nil {
				networks = append(networks, made.UUID)
			}
		case 2, 3, 4:
			want := sf.InstanceSpec{Name: "i", CPUs: 1 + r.IntN(4), MemoryMiB: 512, Disks: []sf.Disk{{Base: "http://images/a", SizeGB: 2}}}
			for range r.IntN(3) {
				want.Interfaces = append(want.Interfaces, sf.InterfaceSpec{Network: one(networks)})
			}
			var made *sf.Instance
			if made, err = c.CreateInstance(ctx, sf.System, want); err == nil {
				instances = append(instances, made.UUID)
				for _, nic := range made.NICs {
					interfaces = append(interfaces, nic.UUID)
				}
			}
		case 5, 6:
			err = c.DeleteInstance(ctx, one(instances))
		case 7:
			err = c.DeleteNetwork(ctx, one(networks))
		case 8:
			_, err = c.SetPower(ctx, one(instances), []sf.PowerState{sf.PowerOn, sf.PowerOff, sf.PowerPaused}[r.IntN(3)])
		case 9:
			s.disturb(node, one(instances))
		case 10:
			node.Kill()
		case 12:
			_, err = c.Reboot(ctx, one(instances), r.IntN(2) == 0)
		case 13:
			var made *sf.Snapshot
			if made, _, err = c.Snapshot(ctx, one(instances), r.IntN(2) == 0); err == nil {
				snapshots = append(snapshots, made.UUID)
			}
		case 14:
			err = c.DeleteSnapshot(ctx, one(snapshots))
		case 15:
			if _, err = c.Float(ctx, one(interfaces), ""); errors.Is(err, sf.ErrInvalid) {
				err = nil // its network has no way outside
			}
		case 16:
			err = c.Defloat(ctx, one(interfaces))
		case 17:
			node.Freeze(true)
		case 18:
			node.Cut(r.IntN(2) == 0)
		case 19, 20:
			for _, id := range instances {
				if _, err = c.RecoverInstance(ctx, id, false); err == nil {
					s.recovered++
				} else if !expected(err) {
					break
				}
			}
		case 21:
			err = c.ForceDeleteInstance(ctx, one(instances))
		case 22:
			_, err = c.DrainNode(s.Context(time.Minute), s.Nodes[r.IntN(len(s.Nodes))].Name, sf.DrainOptions{Recover: r.IntN(2) == 0, Ask: 10 * time.Second})
		case 23:
			err = c.UncordonNode(ctx, s.Nodes[r.IntN(len(s.Nodes))].Name)
		case 24:
			err = c.RemoveNode(ctx, s.Nodes[r.IntN(len(s.Nodes))].Name)
		case 25:
			s.Sleep(time.Duration(r.IntN(120)) * time.Second)
		default:
			s.Sleep(time.Duration(r.IntN(20000)) * time.Millisecond)
		}
		if err != nil && !expected(err) {
			return fmt.Errorf("unexpected error: %w", err)
		}
		if err := s.check(false); err != nil {
			return err
		}
	}
	return s.settle()
}

// disturb does something to a host or a guest behind the cloud's back.
func (s *Sim) disturb(n *SimNode, instance string) {
	switch s.rng.IntN(5) {
	case 0:
		_ = n.Machine.Shutdown(instance)
	case 1:
		_ = n.Machine.Crash(instance, "out of memory")
	case 2:
		n.Machine.Fill()
	case 3:
		n.Machine.MakeRoom()
	case 4:
		n.Kill()
		n.Machine.Reboot()
	}
}

// expected are the errors that a user of a cloud in trouble may see.
func expected(err error) bool {
	for _, e := range []error{sf.ErrNotFound, sf.ErrInUse, sf.ErrNoCapacity, sf.ErrConflict, sf.ErrUnavailable, sf.ErrTimeout, sf.ErrInvalid, context.DeadlineExceeded, ErrCut, ErrKilled, ErrInjected, driver.ErrNoSpace} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func TestChaos(t *testing.T) {
	testChaos(t, func(*Sim, Step) Fault { return NoFault })
}

// The same with a call in fifty failing, losing its reply or its process.
func TestChaosWithFaults(t *testing.T) {
	testChaos(t, func(s *Sim, _ Step) Fault {
		if s.rng.IntN(50) > 0 {
			return NoFault
		}
		return []Fault{Fail, LoseReply, Fail, LoseReply, Fail, LoseReply, Kill}[s.rng.IntN(7)]
	})
}

func testChaos(t *testing.T, fault func(*Sim, Step) Fault) {
	n, steps, recovered, fenced, moved := rounds(150), 0, 0, 0, 0
	for seed := range n {
		var s *Sim
		err := Simulate(SimConfig{Seed: uint64(seed), Nodes: 1 + seed%4, Fault: func(step Step) Fault { return fault(s, step) }}, func(sim *Sim) error {
			s = sim
			return chaos(sim, 60)
		})
		if err != nil {
			t.Fatal(err)
		}
		steps, recovered, fenced, moved = steps+s.steps, recovered+s.recovered, fenced+s.fenced, moved+s.moved
	}
	t.Logf("%d seeds, %d steps: %d instances recovered, %d hosts fenced, %d routers moved", n, steps, recovered, fenced, moved)
	if n >= 150 && (recovered == 0 || fenced == 0 || moved == 0) {
		t.Error("what is to be tried did not happen")
	}
}
