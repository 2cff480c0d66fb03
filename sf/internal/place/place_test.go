package place

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shakenfist/cloud/sf/spec"
)

var limits = spec.Capacity{CPUs: 16, MemoryMiB: 4096, DiskGB: 100, Instances: 10}

func first(int) int { return 0 }

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		node Node
		need spec.Capacity
		want string
	}{
		{Node{Name: "a", Limits: limits}, spec.Capacity{}, "agent is not running"},
		{Node{Name: "a", Live: true, Limits: limits}, spec.Capacity{CPUs: 17}, "not enough CPU: 17 asked, 16 of 16 left"},
		{Node{Name: "a", Live: true, Limits: limits, Used: spec.Capacity{MemoryMiB: 4000}}, spec.Capacity{MemoryMiB: 97}, "not enough RAM: 97 MiB asked, 96 of 4096 left"},
		{Node{Name: "a", Live: true, Limits: limits}, spec.Capacity{DiskGB: 101}, "not enough disk: 101 GB asked"},
		{Node{Name: "a", Live: true, Limits: limits, Used: spec.Capacity{Instances: 10}}, spec.Capacity{Instances: 1}, "all the 10 instances"},
	} {
		req := Request{Need: c.need}
		ranked, refused := Choose([]Node{c.node}, req, first)
		if len(ranked) != 0 || !strings.Contains(Explain(req, refused), c.want) {
			t.Errorf("%+v: ranked %v, explained %q, want %q", c.need, ranked, Explain(req, refused), c.want)
		}
	}
}

func TestForced(t *testing.T) {
	nodes := []Node{{Name: "a", Live: true, Limits: limits}, {Name: "b", Live: true, Limits: limits}}
	if got, _ := Choose(nodes, Request{Forced: "b"}, first); len(got) != 1 || got[0] != "b" {
		t.Errorf("forced on b: %v", got)
	}
	req := Request{Forced: "c"}
	_, refused := Choose(nodes, req, first)
	if got := Explain(req, refused); got != "node not found: c" {
		t.Errorf("unknown node: %q", got)
	}
}

func TestEmptiestFirst(t *testing.T) {
	nodes := []Node{
		{Name: "full", Live: true, Limits: limits, Used: spec.Capacity{MemoryMiB: 3000}},
		{Name: "empty", Live: true, Limits: limits},
	}
	if got, _ := Choose(nodes, Request{Need: spec.Capacity{CPUs: 1, MemoryMiB: 64}}, first); got[0] != "empty" {
		t.Errorf("ranked %v", got)
	}
}

// Whatever is ranked has room, and every other node has a reason.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := func(label string, most int) spec.Capacity {
			n := rapid.IntRange(0, most)
			return spec.Capacity{CPUs: n.Draw(t, label), MemoryMiB: n.Draw(t, label), DiskGB: n.Draw(t, label), Instances: n.Draw(t, label)}
		}
		var nodes []Node
		byName := map[string]Node{}
		for i := range rapid.IntRange(0, 8).Draw(t, "nodes") {
			n := Node{Name: fmt.Sprint(i), Live: rapid.Bool().Draw(t, "live"), Limits: capacity("limit", 20), Used: capacity("used", 20)}
			nodes = append(nodes, n)
			byName[n.Name] = n
		}
		need := capacity("need", 10)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		ranked, refused := Choose(nodes, Request{Need: need}, rnd.IntN)
		if len(ranked)+len(refused) != len(nodes) {
			t.Fatalf("%d ranked and %d refused of %d", len(ranked), len(refused), len(nodes))
		}
		for _, name := range ranked {
			n := byName[name]
			left := n.Limits.Sub(n.Used.Add(need))
			if !n.Live || left.CPUs < 0 || left.MemoryMiB < 0 || left.DiskGB < 0 || left.Instances < 0 {
				t.Fatalf("%+v cannot take %+v", n, need)
			}
		}
		for _, r := range refused {
			if r.Reason == "" {
				t.Fatalf("%s refused without a reason", r.Node)
			}
		}
	})
}
