package sf_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// cluster runs test on a simulated cloud of so many nodes.
func cluster(t *testing.T, nodes int, test func(s *sftest.Sim, c *sf.Cloud) error) {
	t.Helper()
	err := sftest.Simulate(sftest.SimConfig{Seed: 1, Nodes: nodes}, func(s *sftest.Sim) error {
		for _, n := range s.Nodes {
			if err := n.Start(s.Context(time.Minute)); err != nil {
				return err
			}
		}
		return test(s, s.Nodes[0].Cloud)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAffinity keeps instances together and apart by the tags of their metadata.
func TestAffinity(t *testing.T) {
	cluster(t, 3, func(s *sftest.Sim, c *sf.Cloud) error {
		ctx := s.Context(time.Hour)
		create := func(name string, m sf.Metadata) (*sf.Instance, error) {
			want := small(name)
			want.Metadata = m
			return c.CreateInstance(ctx, sf.System, want)
		}
		nodes := map[string]bool{}
		for k := range 3 {
			i, err := create(fmt.Sprint("apart", k), sf.Metadata{"tags": []string{"db"}, "affinity": map[string]int{"db": -10}})
			if err != nil {
				return err
			}
			nodes[i.Node] = true
		}
		if len(nodes) != 3 {
			t.Errorf("three that avoid each other are on %v", nodes)
		}
		first, err := create("first", sf.Metadata{"tags": `["web"]`})
		if err != nil {
			return err
		}
		for k := range 3 {
			i, err := create(fmt.Sprint("near", k), sf.Metadata{"affinity": `{"web": 5}`})
			if err != nil {
				return err
			}
			if i.Node != first.Node {
				t.Errorf("one that wants to be near %s is on %s", first.Node, i.Node)
			}
		}
		// What is gone attracts nobody.
		if err := c.DeleteInstance(ctx, first.UUID); err != nil {
			return err
		}
		if _, err := c.WaitInstance(ctx, first.UUID, sf.InstanceGone); err != nil {
			return err
		}
		for range 50 { // chance chooses among equals
			p, err := c.PlaceInstance(ctx, sf.System, small("next"))
			if err != nil || len(p.Nodes) != 3 {
				t.Errorf("after its end: %+v, %v", p, err)
			}
			if p.Nodes[0] != first.Node {
				return nil
			}
		}
		t.Errorf("what is gone still attracts to %s", first.Node)
		return nil
	})
}

func TestAffinityRefusals(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	for _, m := range []sf.Metadata{
		{"tags": 7}, {"tags": "web"}, {"tags": []string{"a b"}}, {"tags": []string{"a", "a"}}, {"tags": make([]string, 9)},
		{"affinity": []string{"web"}}, {"affinity": map[string]any{"web": "much"}}, {"affinity": map[string]any{"web": 1.5}},
		{"affinity": map[string]any{"web": 1001}}, {"affinity": map[string]any{"": 1}},
	} {
		want := small("one")
		want.Metadata = m
		if _, err := c.CreateInstance(ctx, sf.System, want); !errors.Is(err, sf.ErrInvalid) {
			t.Errorf("%v: %v", m, err)
		}
	}
}

// TestPlaceInstance asks where an instance would go: nothing is claimed, and every
// node that cannot take it has a reason.
func TestPlaceInstance(t *testing.T) {
	cluster(t, 3, func(s *sftest.Sim, c *sf.Cloud) error {
		ctx := s.Context(time.Hour)
		if err := c.CordonNode(ctx, "node2"); err != nil {
			return err
		}
		s.Nodes[2].Kill()
		s.Sleep(time.Minute)
		for range 3 {
			p, err := c.PlaceInstance(ctx, sf.System, small("one"))
			if err != nil {
				return err
			}
			if len(p.Nodes) != 1 || p.Nodes[0] != "node1" || !strings.Contains(p.Refused["node2"], "cordoned") || !strings.Contains(p.Refused["node3"], "not running") {
				t.Errorf("%+v", p)
			}
		}
		nodes, err := c.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Used != (sf.Capacity{}) {
				t.Errorf("%s has given away %+v", n.Name, n.Used)
			}
		}
		want := small("one")
		want.PlacedOn = "node2"
		if _, err := c.CreateInstance(ctx, sf.System, want); !errors.Is(err, sf.ErrNoCapacity) || !strings.Contains(err.Error(), "cordoned") {
			t.Errorf("forced on a cordoned node: %v", err)
		}
		if err := c.UncordonNode(ctx, "node2"); err != nil {
			return err
		}
		if i, err := c.CreateInstance(ctx, sf.System, want); err != nil || i.Node != "node2" {
			t.Errorf("after uncordon: %+v, %v", i, err)
		}
		if err := c.CordonNode(ctx, "node9"); !errors.Is(err, sf.ErrNotFound) {
			t.Errorf("cordon of a node that is not there: %v", err)
		}
		return nil
	})
}

// TestNetworksDraw holds that an instance goes where its network has guests, and
// not to the network's router while there are others.
func TestNetworksDraw(t *testing.T) {
	cluster(t, 3, func(s *sftest.Sim, c *sf.Cloud) error {
		ctx := s.Context(time.Hour)
		n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", NAT: true})
		if err != nil {
			return err
		}
		var first *sf.Instance
		for k := range 4 {
			i, err := c.CreateInstance(ctx, sf.System, small(fmt.Sprint("i", k), sf.InterfaceSpec{Network: n.UUID}))
			if err != nil {
				return err
			}
			if first == nil {
				first = i
			}
			if i.Node == n.Node || i.Node != first.Node {
				t.Errorf("instance %d is on %s, the first on %s, the router on %s", k, i.Node, first.Node, n.Node)
			}
		}
		return nil
	})
}

// TestImagesDraw holds that an instance goes where its images are: all of its disks
// count, each image once, by its very name and nothing that looks like it.
func TestImagesDraw(t *testing.T) {
	cluster(t, 3, func(s *sftest.Sim, c *sf.Cloud) error {
		ctx := s.Context(time.Hour)
		first := func(bases ...string) (string, error) {
			want := small("one")
			want.Disks = nil
			for _, b := range bases {
				want.Disks = append(want.Disks, sf.Disk{SizeGB: 8, Base: b})
			}
			p, err := c.PlaceInstance(ctx, sf.System, want)
			if err != nil {
				return "", err
			}
			return p.Nodes[0], nil
		}
		always := func(node string, bases ...string) error {
			for range 20 {
				if got, err := first(bases...); err != nil || got != node {
					return fmt.Errorf("one with %q goes to %s, not to %s, %v", bases, got, node, err)
				}
			}
			return nil
		}
		const a, b = "http://images/a", "http://images/b"
		// Node 2 has one image and node 3 two, and has more to do.
		if err := s.Nodes[1].CacheImage(ctx, a, nil); err != nil {
			return err
		}
		busy := small("busy")
		busy.PlacedOn, busy.Disks = "node3", []sf.Disk{{SizeGB: 8, Base: a}, {SizeGB: 8, Base: b}}
		i, err := c.CreateInstance(ctx, sf.System, busy)
		if err == nil {
			_, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		}
		if err != nil {
			return err
		}
		for _, bases := range [][]string{{a, b}, {b, a}, {b}, {"", b}, {b, b, ""}} {
			if err := always("node3", bases...); err != nil {
				return err
			}
		}
		for range 20 {
			if got, err := first(a, a); err != nil || got == "node1" {
				return fmt.Errorf("one with an image of nodes 2 and 3 goes to %s, %v", got, err)
			}
		}
		// Between equals chance decides; what only looks like an image is none.
		for _, like := range []string{"http://images/", "http://images/aa", "images/a"} {
			seen := map[string]bool{}
			for range 50 {
				got, err := first(like)
				if err != nil {
					return err
				}
				seen[got] = true
			}
			if len(seen) != 3 {
				return fmt.Errorf("ones with %q go only to %v", like, seen)
			}
		}
		// An image that is deleted attracts nobody.
		images, err := s.Nodes[1].Images(ctx)
		if err != nil {
			return err
		}
		if err := s.Nodes[1].DeleteImage(ctx, images[0].ID); err != nil {
			return err
		}
		s.Sleep(time.Second)
		return always("node3", a)
	})
}
