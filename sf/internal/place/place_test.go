package place

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
		{Node{Name: "a", Live: true, Cordoned: true, Limits: limits}, spec.Capacity{}, "a: it is cordoned"},
		{Node{Name: "a", Live: true, Lacks: "no bus like that", Limits: limits}, spec.Capacity{}, "a: no bus like that"},
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
			n := Node{Name: fmt.Sprint(i), Live: rapid.Bool().Draw(t, "live"), Networks: rapid.IntRange(0, 1).Draw(t, "networks"), Limits: capacity("limit", 20), Used: capacity("used", 20)}
			nodes = append(nodes, n)
			byName[n.Name] = n
		}
		need := capacity("need", 10)
		seed := rapid.Uint64().Draw(t, "seed")
		ranked, refused := Choose(nodes, Request{Need: need}, rand.New(rand.NewPCG(seed, 0)).IntN)
		best := Best(nodes, Request{Need: need}, rand.New(rand.NewPCG(seed, 0)).IntN)
		if best < 0 != (len(ranked) == 0) || best >= 0 && nodes[best].Name != ranked[0] {
			t.Fatalf("the best is %d, ranked are %v", best, ranked)
		}
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

// TestPreferences puts pairs of nodes before the scheduler, of which the second
// is emptier: each preference is stronger than that, and than those after it.
func TestPreferences(t *testing.T) {
	busy := spec.Capacity{CPUs: 8}
	for _, c := range []struct {
		what        string
		best, other Node
	}{
		{"affinity over network", Node{Affinity: 1}, Node{Networks: 1}},
		{"indifference over aversion", Node{}, Node{Affinity: -1, Networks: 2}},
		{"network over image", Node{Networks: 1}, Node{Images: 2}},
		{"image over no router", Node{Images: 1, Router: true}, Node{}},
		{"no router over emptier", Node{}, Node{Router: true}},
	} {
		c.best.Name, c.best.Used, c.other.Name = "best", busy, "other"
		for _, n := range []*Node{&c.best, &c.other} {
			n.Live, n.Limits = true, limits
		}
		for _, nodes := range [][]Node{{c.best, c.other}, {c.other, c.best}} {
			got, _ := Choose(nodes, Request{Need: spec.Capacity{CPUs: 1}}, func(n int) int { return n - 1 })
			if len(got) != 2 || got[0] != "best" {
				t.Errorf("%s: ranked %v", c.what, got)
			}
		}
	}
}

// TestChanceAmongEquals holds that chance never overrules a preference, and
// reaches each of the best.
func TestChanceAmongEquals(t *testing.T) {
	var nodes []Node
	for i := range 5 {
		nodes = append(nodes, Node{Name: fmt.Sprint(i), Live: true, Limits: limits, Networks: min(i, 1)})
	}
	seen := map[string]bool{}
	for k := range among {
		got, _ := Choose(nodes, Request{}, func(n int) int {
			if n != among {
				t.Fatalf("chance has %d to choose from", n)
			}
			return k
		})
		seen[got[0]] = true
	}
	if len(seen) != among || seen["0"] {
		t.Errorf("chosen were %v", seen)
	}
}

// BenchmarkBest is how many decisions a second a scheduler makes among so many nodes
// of which a few are full, gone or preferred.
func BenchmarkBest(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 1))
			nodes := make([]Node, n)
			for k := range nodes {
				nodes[k] = Node{
					Name: fmt.Sprintf("node%d", k), Live: k%50 > 0, Cordoned: k%70 == 0, Networks: k % 20 / 19,
					Limits: spec.Capacity{CPUs: 512, MemoryMiB: 1 << 20, DiskGB: 1 << 14, Instances: 1000},
					Used:   spec.Capacity{CPUs: rnd.IntN(600), MemoryMiB: rnd.IntN(1 << 20), DiskGB: rnd.IntN(1 << 14), Instances: rnd.IntN(1000)},
				}
			}
			empty := slices.Clone(nodes)
			need := spec.Capacity{CPUs: 2, MemoryMiB: 2048, DiskGB: 20, Instances: 1}
			b.ReportAllocs()
			for b.Loop() {
				if k := Best(nodes, Request{Need: need}, rnd.IntN); k >= 0 {
					nodes[k].Used = nodes[k].Used.Add(need)
				} else { // all are full
					copy(nodes, empty)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}
