package sftest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/node"
)

// Two machines cannot be one node: the second would run again what the first runs,
// even one that has a copy of its disk, and its key. A name is free when nothing is
// recorded for it any more.
func TestNameTaken(t *testing.T) {
	for what, clone := range map[string]bool{"another machine": false, "a copy of its disk": true} {
		t.Run(what, func(t *testing.T) {
			cfg := SimConfig{Seed: 1, Nodes: 2, Cloud: func(c *sf.Config) {
				if c.Node != nil && c.Node.Name == "node2" {
					if c.Node.Name = "node1"; clone {
						c.Node.EndpointKey = "key of node1"
					}
				}
			}}
			if err := Simulate(cfg, func(s *Sim) error { return takeName(s, clone) }); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func takeName(s *Sim, clone bool) error {
	ctx, first, second := s.Context(time.Hour), s.Nodes[0], s.Nodes[1]
	if err := first.Start(ctx); err != nil {
		return err
	}
	i, err := first.CreateInstance(ctx, sf.System, sf.InstanceSpec{Name: "one", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1}}})
	if err == nil {
		_, err = first.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
	}
	if err != nil {
		return err
	}
	refused := func(n *SimNode, when string) error {
		if err := n.Start(ctx); !errors.Is(err, node.ErrNameTaken) {
			return fmt.Errorf("%s: %s starts as node1: %v", when, n.Name, err)
		}
		return nil
	}
	if err := refused(second, "the first is there"); err != nil || clone {
		return err
	}
	first.Kill()
	s.Sleep(ttl + time.Second)
	if err := refused(second, "the first is gone and has an instance"); err != nil {
		return err
	}
	if err := first.Start(ctx); err != nil {
		return fmt.Errorf("the first returns: %w", err)
	}
	if err := first.DeleteInstance(ctx, i.UUID); err != nil {
		return err
	}
	if _, err := first.WaitInstance(ctx, i.UUID, sf.InstanceGone); err != nil {
		return err
	}
	first.Freeze(true) // for long enough to count as gone
	s.Sleep(ttl + time.Second)
	if err := second.Start(ctx); err != nil {
		return fmt.Errorf("the first is gone and has nothing: %w", err)
	}
	first.Freeze(false)
	s.Sleep(ttl)
	if err := first.CordonNode(ctx, "node1"); err != nil {
		return err
	}
	return refused(first, "another has its name")
}
