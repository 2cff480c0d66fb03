package sftest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
)

// A drain that ends in the middle leaves instances as they were; one whose process died
// goes on when it is asked again, and knows which instances it has switched off.
func TestInterruptedDrain(t *testing.T) {
	for what, killed := range map[string]bool{"its caller gives up": false, "its process dies": true} {
		t.Run(what, func(t *testing.T) {
			err := Simulate(SimConfig{Seed: 1, Nodes: 2, Heads: 1}, func(s *Sim) error {
				_, guests, _, err := three(s)
				if err != nil {
					return err
				}
				ctx, head, from := s.Context(time.Hour), s.Heads[0], s.Nodes[0]
				if err := head.Start(ctx); err != nil {
					return err
				}
				from.Slow(30 * time.Second) // so that nothing has stopped yet by then
				if killed {
					s.Go("drain", func() { head.DrainNode(ctx, from.Name, sf.DrainOptions{Recover: true, Ask: -1}) })
					s.Sleep(5 * time.Second)
					head.Kill()
				} else if _, err := head.DrainNode(s.Context(5*time.Second), from.Name, sf.DrainOptions{Recover: true, Ask: -1}); err == nil {
					return fmt.Errorf("it was drained, which was to take longer")
				}
				from.Slow(0)
				s.Sleep(2 * time.Minute)
				c, id := s.Nodes[1].Cloud, guests[from.Name]
				if i, err := c.Instance(ctx, id); err != nil || !killed && i.Status.Power != sf.PowerOn {
					return fmt.Errorf("it is %s and wanted %+v, %v", i.Status.Power, i.Power, err)
				}
				d, err := c.DrainNode(ctx, from.Name, sf.DrainOptions{Recover: true, Ask: -1})
				if err != nil || len(d.Recovered) != 1 {
					return fmt.Errorf("drained again: %+v, %v", d, err)
				}
				if err := s.settle(); err != nil {
					return err
				}
				if i, err := c.Instance(ctx, id); err != nil || i.Status.Power != sf.PowerOn || i.Power.Then != "" || i.Node == from.Name {
					return fmt.Errorf("it is %s on %s and wanted %+v, %v", i.Status.Power, i.Node, i.Power, err)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A machine that does not stop is not waited for without end: the drain says that it
// remains, and why, and goes on with the others. It is wanted as before again, and
// goes with the next drain once its hypervisor answers.
func TestDrainOfStuckMachine(t *testing.T) {
	for _, method := range []string{"Stop", "Inspect"} {
		t.Run(method, func(t *testing.T) {
			err := Simulate(SimConfig{Seed: 1, Nodes: 2}, func(s *Sim) error {
				_, guests, _, err := three(s)
				if err != nil {
					return err
				}
				from, c := s.Nodes[0], s.Nodes[1].Cloud
				ctx, stuck := s.Context(time.Hour), guests[from.Name]
				i, err := c.CreateInstance(ctx, sf.System, sf.InstanceSpec{
					Name: "second", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1}}, PlacedOn: from.Name,
				})
				if err == nil {
					i, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
				}
				if err != nil {
					return err
				}
				from.Machine.Fault(fake.Fault{Method: method, ID: stuck, Err: errors.New("its monitor does not answer")})
				start := s.Now()
				d, err := c.DrainNode(ctx, from.Name, sf.DrainOptions{Recover: true, Ask: 10 * time.Second})
				took := s.Now().Sub(start)
				if err != nil || took < 2*time.Minute || took > 4*time.Minute {
					return fmt.Errorf("drained in %v: %+v, %v", took, d, err)
				}
				if !slices.Equal(d.Recovered, []string{i.UUID}) || !strings.Contains(d.Remains[stuck], "has not stopped within 2m10s") {
					return fmt.Errorf("drained: %+v", d)
				}
				if method == "Stop" && !strings.Contains(d.Remains[stuck], "its monitor does not answer") {
					return fmt.Errorf("why it remains: %s", d.Remains[stuck])
				}
				from.Machine.Heal()
				s.Sleep(2 * time.Minute)
				if i, err := c.Instance(ctx, stuck); err != nil || i.Status.Power != sf.PowerOn || i.Power.Then != "" || i.Node != from.Name {
					return fmt.Errorf("it is %s on %s and wanted %+v, %v", i.Status.Power, i.Node, i.Power, err)
				}
				if d, err = c.DrainNode(ctx, from.Name, sf.DrainOptions{Recover: true, Ask: -1}); err != nil || len(d.Remains) > 0 {
					return fmt.Errorf("drained again: %+v, %v", d, err)
				}
				return s.settle()
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
