package mvcc

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// checkTree fails the test when the tree breaks its own rules: all leaves
// equally deep, no node empty or too wide, every key within its parents' bounds.
func checkTree[V any](t *testing.T, tree Tree[V]) {
	t.Helper()
	if tree.root == nil {
		if tree.size != 0 {
			t.Fatalf("no nodes, but %d keys", tree.size)
		}
		return
	}
	depths, keys := map[int]bool{}, 0
	var walk func(n *node[V], depth int, low, high string)
	walk = func(n *node[V], depth int, low, high string) {
		if len(n.keys) == 0 || len(n.keys) > fan || !slices.IsSorted(n.keys[min(len(n.kids), 1):]) {
			t.Fatalf("node with the keys %q", n.keys)
		}
		if n.kids == nil {
			depths[depth] = true
			keys += len(n.keys)
			if n.keys[0] < low || (high != "" && n.keys[len(n.keys)-1] >= high) || len(n.vals) != len(n.keys) {
				t.Fatalf("leaf %q outside of [%q, %q)", n.keys, low, high)
			}
			return
		}
		for i, kid := range n.kids {
			l, h := low, high
			if i > 0 {
				l = n.keys[i]
			}
			if i+1 < len(n.kids) {
				h = n.keys[i+1]
			}
			walk(kid, depth+1, l, h)
		}
	}
	walk(tree.root, 0, "", "")
	if len(depths) != 1 || keys != tree.size {
		t.Fatalf("leaves at the depths %v, %d keys counted as %d", depths, keys, tree.size)
	}
}

func contents[V any](tree Tree[V]) (keys []string, m map[string]V) {
	m = map[string]V{}
	for k, v := range tree.From("") {
		keys = append(keys, k)
		m[k] = v
	}
	return keys, m
}

// A tree is a sorted map, and every version of it stays as it was.
func TestTree(t *testing.T) {
	for name, key := range map[string]func(*rand.Rand, int) string{
		"random":     func(r *rand.Rand, _ int) string { return fmt.Sprint(r.IntN(2000)) },
		"ascending":  func(_ *rand.Rand, i int) string { return fmt.Sprintf("%06d", i) },
		"descending": func(_ *rand.Rand, i int) string { return fmt.Sprintf("%06d", 999_999-i) },
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			var tree Tree[int]
			model := map[string]int{}
			type version struct {
				tree  Tree[int]
				model map[string]int
			}
			var versions []version
			for i := range 6000 {
				k := key(rng, i)
				// First it grows, then it shrinks to a few keys, so that nodes join again.
				if grow := i < 3000; grow == (rng.IntN(10) > 1) {
					tree, model[k] = tree.Put(k, i), i
				} else {
					for next := range tree.From(key(rng, rng.IntN(3000))) { // one that is there
						k = next
						break
					}
					tree = tree.Delete(k)
					delete(model, k)
				}
				if i%500 == 0 {
					versions = append(versions, version{tree, maps.Clone(model)})
				}
				if i%100 == 0 {
					checkTree(t, tree)
				}
			}
			versions = append(versions, version{tree, model})
			for _, v := range versions {
				checkTree(t, v.tree)
				keys, m := contents(v.tree)
				if !slices.IsSorted(keys) || !maps.Equal(m, v.model) || len(keys) != len(m) {
					t.Fatalf("the tree has %d keys, the map %d", len(keys), len(v.model))
				}
				for k, want := range v.model {
					if got, ok := v.tree.Get(k); !ok || got != want {
						t.Fatalf("%q is %d, %v, want %d", k, got, ok, want)
					}
				}
				if _, ok := v.tree.Get("none"); ok {
					t.Fatal("found what was never put")
				}
			}
		})
	}
}

func TestTreeFromAndPrefix(t *testing.T) {
	var tree Tree[int]
	var keys []string
	for i := range 500 {
		k := fmt.Sprintf("%c/%03d", 'a'+i%3, i)
		keys = append(keys, k)
		tree = tree.Put(k, i)
	}
	slices.Sort(keys)
	for _, start := range append([]string{"", "a", "a/", "b/100", "b/1005", "c/499", "d"}, keys...) {
		var from, below, wantFrom, wantBelow []string
		for k := range tree.From(start) {
			from = append(from, k)
		}
		for k := range tree.Prefix(start) {
			below = append(below, k)
		}
		for _, k := range keys {
			if k >= start {
				wantFrom = append(wantFrom, k)
			}
			if strings.HasPrefix(k, start) {
				wantBelow = append(wantBelow, k)
			}
		}
		if !slices.Equal(from, wantFrom) || !slices.Equal(below, wantBelow) {
			t.Fatalf("from and below %q: %d and %d keys, want %d and %d", start, len(from), len(below), len(wantFrom), len(wantBelow))
		}
	}
	for _, prefix := range []string{"", "a", "a/", "b/1", "c/499", "d"} {
		for _, start := range append([]string{"", "a", "b/100x", "c/499", "d"}, keys...) {
			var got, want []int
			for run := range tree.Runs(prefix, start) {
				if len(run) == 0 {
					t.Fatalf("an empty run below %q from %q", prefix, start)
				}
				got = append(got, run...)
			}
			for k, v := range tree.Prefix(prefix) {
				if k >= start {
					want = append(want, v)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("below %q from %q: %v, want %v", prefix, start, got, want)
			}
		}
	}
	for run := range tree.Runs("", "") {
		if run[0] != 0 {
			t.Fatalf("the first run is %v", run)
		}
		break
	}
	for k := range tree.From("b") {
		if k != "b/001" {
			t.Fatalf("the first key from b is %q", k)
		}
		break // an iteration may stop anywhere
	}
}

// A sorted load fills its nodes, so that a big store starts compact.
func TestTreeSortedLoadIsDense(t *testing.T) {
	var tree Tree[int]
	for i := range 10_000 {
		tree = tree.Put(fmt.Sprintf("%06d", i), i)
	}
	leaves := 0
	var count func(n *node[int])
	count = func(n *node[int]) {
		if n.kids == nil {
			leaves++
		}
		for _, k := range n.kids {
			count(k)
		}
	}
	count(tree.root)
	if least := 10_000 / fan; leaves > least*5/4 {
		t.Fatalf("%d leaves, %d would do", leaves, least)
	}
}

// Runs of neighbouring keys come and go, so that whole leaves vanish from the
// edges of branches before the branches join.
func TestTreeRuns(t *testing.T) {
	const space = 6000
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var tree Tree[int]
		model := make([]bool, space)
		for round := range 400 {
			start, n := rng.IntN(space), rng.IntN(150)
			grow := rng.IntN(10) < 6
			if round%100 > 50 {
				grow, n = rng.IntN(10) < 3, n*2
			}
			for i := start; i < min(start+n, space); i++ {
				key := fmt.Sprintf("%04d", i)
				if grow {
					tree = tree.Put(key, i)
				} else {
					tree = tree.Delete(key)
				}
				model[i] = grow
			}
			checkTree(t, tree)
			if round%5 != 0 {
				continue
			}
			for i, want := range model {
				if _, ok := tree.Get(fmt.Sprintf("%04d", i)); ok != want {
					t.Fatalf("seed %d, round %d: %d is there: %v", seed, round, i, ok)
				}
			}
		}
	}
}
