package sftest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// A node that returns after others took over its router does not route again, not for a
// moment, whether its process goes on, and hears late of what happened, or is a new one
// that finds what the last has left.
func TestReturnedRouterIsSilent(t *testing.T) {
	for what, away := range map[string]func(*Sim, *SimNode) error{
		"cut off": func(s *Sim, n *SimNode) error {
			n.Cut(true)
			s.Sleep(time.Minute)
			n.Deafen(true)
			n.Mend()
			s.Sleep(20 * time.Second)
			n.Deafen(false)
			return nil
		},
		"killed": func(s *Sim, n *SimNode) error {
			n.Kill()
			s.Sleep(time.Minute)
			return n.Start(context.Background())
		},
	} {
		t.Run(what, func(t *testing.T) {
			for seed := range uint64(20) {
				err := Simulate(SimConfig{Seed: seed, Nodes: 3}, func(s *Sim) error {
					network, _, was, err := three(s)
					if err != nil {
						return err
					}
					both := ""
					for range 3 {
						s.cfg.Fault = func(step Step) Fault {
							if s.routers(network) > 1 && both == "" {
								both = fmt.Sprintf("step %d, %s", step.N, step)
							}
							return NoFault
						}
						if err := away(s, was); err != nil {
							return err
						}
						if err := s.settle(); err != nil {
							return err
						}
						n, err := s.other(was).Network(s.Context(time.Minute), network)
						if err != nil || n.Node == was.Name || s.routers(network) != 1 {
							return fmt.Errorf("%d nodes route what %+v says, %v", s.routers(network), n, err)
						}
						was = s.node(n.Node)
					}
					if both != "" {
						return fmt.Errorf("two nodes route at %s", both)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// routers is how many nodes route a network.
func (s *Sim) routers(network string) (n int) {
	for _, node := range s.Nodes {
		if node.routes("/" + network + "/") {
			n++
		}
	}
	return n
}
