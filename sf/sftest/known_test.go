package sftest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
)

// A node that is cut off as the only one it knows of takes that for an outage of all and
// goes on. Nodes that join meanwhile do not outvote it: its router stays where it is, and
// its instances are for somebody to decide about.
func TestJoinedMeanwhile(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 3}, func(s *Sim) error {
		ctx, alone := s.Context(time.Hour), s.Nodes[0]
		if err := alone.Start(ctx); err != nil {
			return err
		}
		net, err := alone.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/24", NAT: true})
		if err != nil {
			return err
		}
		i, err := alone.CreateInstance(ctx, sf.System, sf.InstanceSpec{
			Name: "one", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1}}, Interfaces: []sf.InterfaceSpec{{Network: net.UUID}},
		})
		if err == nil {
			_, err = alone.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		}
		if err != nil {
			return err
		}
		alone.Cut(true)
		for _, n := range s.Nodes[1:] {
			if err := n.Start(ctx); err != nil {
				return err
			}
		}
		c := s.Nodes[1].Cloud
		if _, err := c.CreateInstance(ctx, sf.System, sf.InstanceSpec{ // an heir of the router
			Name: "two", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1}}, Interfaces: []sf.InterfaceSpec{{Network: net.UUID}}, PlacedOn: "node2",
		}); err != nil {
			return err
		}
		for range 30 {
			s.Sleep(10 * time.Second)
			if _, err := c.RecoverInstance(ctx, i.UUID, false); !errors.Is(err, sf.ErrConflict) {
				return fmt.Errorf("its instance is recovered without anybody's word: %v", err)
			}
			if n, err := c.Network(ctx, net.UUID); err != nil || n.Node != alone.Name {
				return fmt.Errorf("its router moved to %s, %v", n.Node, err)
			}
		}
		if !alone.routes("/" + net.UUID + "/") {
			return errors.New("it does not go on")
		}
		if _, err := c.RecoverInstance(ctx, i.UUID, true); err != nil {
			return err
		}
		return s.settle()
	})
	if err != nil {
		t.Fatal(err)
	}
}
