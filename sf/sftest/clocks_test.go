package sftest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf"
)

// Clocks that are minutes apart make nobody start elsewhere what still runs, and keep
// nobody from it for longer: time is told by one clock only.
func TestClocksApart(t *testing.T) {
	for _, skew := range [][3]time.Duration{{5, 0, 0}, {-5, 0, 0}, {0, 5, 0}, {0, -5, 0}, {0, 0, 5}, {0, 0, -5}, {5, -5, 0}, {-5, 5, 5}} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
				for k, n := range s.Nodes {
					n.Skew = skew[k] * time.Minute
				}
				return loseApart(s)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// loseApart cuts the second node off, and has the first recover what runs there.
func loseApart(s *Sim) error {
	network, guests, _, err := three(s)
	if err != nil {
		return err
	}
	c, lost, ctx := s.Nodes[0].Cloud, s.Nodes[1], s.Context(time.Hour)
	if _, err := c.DrainNode(ctx, s.Nodes[0].Name, sf.DrainOptions{}); err != nil { // so that another has the router
		return err
	}
	if err := c.UncordonNode(ctx, s.Nodes[0].Name); err != nil {
		return err
	}
	lost.Cut(true)
	start := s.Now()
	for tries := 0; ; tries++ {
		s.Sleep(time.Second)
		_, err := c.RecoverInstance(ctx, guests[lost.Name], false)
		if err == nil {
			break
		}
		if !errors.Is(err, sf.ErrConflict) || s.Now().Sub(start) > 90*time.Second {
			return fmt.Errorf("after %v: %w", s.Now().Sub(start), err)
		}
	}
	m, err := lost.Machine.Hypervisor().Inspect(ctx, guests[lost.Name])
	if err == nil && m.State == driver.Running {
		return fmt.Errorf("after %v it is recovered, and still runs where it was", s.Now().Sub(start))
	}
	n, err := c.Network(ctx, network)
	if err != nil || n.Node == lost.Name {
		return fmt.Errorf("%s still is the router after %v, %v", n.Node, s.Now().Sub(start), err)
	}
	return s.settle()
}
