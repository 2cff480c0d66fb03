package sftest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/record"
)

// A node with a hypervisor that takes its time and many instances to look at is busy,
// not gone: nobody takes over from it, and its guard leaves its machines alone.
func TestBusyNodeLives(t *testing.T) {
	err := Simulate(SimConfig{Seed: 1, Nodes: 2}, func(s *Sim) error {
		network, _, _, err := three(s)
		if err != nil {
			return err
		}
		ctx, busy := s.Context(time.Hour), s.Nodes[0]
		for range 12 {
			_, err := s.Nodes[1].CreateInstance(ctx, sf.System, sf.InstanceSpec{
				Name: "many", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1}},
				Interfaces: []sf.InterfaceSpec{{Network: network}}, PlacedOn: busy.Name,
			})
			if err != nil {
				return err
			}
		}
		if err := s.settle(); err != nil {
			return err
		}
		busy.Slow(10 * time.Second)
		for range 240 {
			s.Sleep(time.Second)
			if _, err := s.Store.Get(ctx, record.NodeLiveKey(busy.Name)); err != nil {
				return fmt.Errorf("%s counts as gone: %w", busy.Name, err)
			}
			if s.fenced > 0 {
				return errors.New("the guard has struck")
			}
		}
		busy.Slow(0)
		return s.settle()
	})
	if err != nil {
		t.Fatal(err)
	}
}
