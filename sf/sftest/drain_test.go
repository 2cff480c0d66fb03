package sftest

import (
	"fmt"
	"testing"
	"time"

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
