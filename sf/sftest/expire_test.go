package sftest

import (
	"fmt"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
)

// What is used anew is remembered from then on, whatever the janitor was to forget of
// its former use: an idempotency key, and an address that rests.
func TestExpiryOfFormerUse(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Cloud: func(c *sf.Config) { c.DeletedFor = time.Minute }}, func(s *Sim) error {
		ctx, n := s.Context(100*time.Hour), s.Nodes[0]
		if err := n.Start(ctx); err != nil {
			return err
		}
		want := sf.NetworkSpec{Netblock: "10.0.0.0/24", IdempotencyKey: "k"}
		made, err := n.CreateNetwork(ctx, sf.System, want)
		if err != nil {
			return err
		}
		if err := n.DeleteNetwork(ctx, made.UUID); err != nil {
			return err
		}
		s.Sleep(12 * time.Hour)
		again, err := n.CreateNetwork(ctx, sf.System, want)
		if err != nil || again.UUID == made.UUID {
			return fmt.Errorf("after 12 hours: %v", err)
		}
		s.Sleep(13 * time.Hour) // 25 after the first use
		if third, err := n.CreateNetwork(ctx, sf.System, want); err != nil || third.UUID != again.UUID {
			return fmt.Errorf("13 hours after its second use the key makes another network: %v", err)
		}
		return reclaim(s, n, again.UUID)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reclaim gives an address back twice, and looks whether it rests for the second time.
func reclaim(s *Sim, n *SimNode, network string) error {
	ctx := s.Context(time.Hour)
	for range 2 {
		i, err := n.CreateInstance(ctx, sf.System, sf.InstanceSpec{
			Name: "one", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1}},
			Interfaces: []sf.InterfaceSpec{{Network: network, Address: "10.0.0.9"}},
		})
		if err == nil {
			err = n.DeleteInstance(ctx, i.UUID)
		}
		if err == nil {
			_, err = n.WaitInstance(ctx, i.UUID, sf.InstanceGone)
		}
		if err != nil {
			return err
		}
		s.Sleep(4 * time.Minute)
	}
	// The first rest has ended by now, the second has not.
	s.Sleep(10 * time.Second)
	if _, err := s.Store.Get(ctx, "sf/address/"+network+"/10.0.0.9"); err != nil {
		return fmt.Errorf("the address does not rest: %w", err)
	}
	s.Sleep(15 * time.Minute)
	if _, err := s.Store.Get(ctx, "sf/address/"+network+"/10.0.0.9"); err == nil {
		return fmt.Errorf("the address rests for ever")
	}
	return nil
}
