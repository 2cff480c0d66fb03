package sf_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
	"github.com/shakenfist/cloud/store/memory"
)

// timeless is a store whose revisions say nothing, as those of one that was restored
// from a backup and has come back to where it was.
type timeless struct{ store.Store }

func (s timeless) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	l, err := s.Store.List(ctx, prefix, page)
	for k := range l.Records {
		l.Records[k].Revision = 7
	}
	return l, err
}

// What is remembered of nodes from one time to the next is what somebody sees who looks
// for the first time, whatever has changed, and whatever could not be read in between.
func TestNodesRemembered(t *testing.T) {
	for name, wrap := range map[string]func(store.Store) store.Store{
		"as it is": func(s store.Store) store.Store { return s },
		"restored": func(s store.Store) store.Store { return timeless{s} },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, rnd := t.Context(), rand.New(rand.NewPCG(1, 1))
			records := memory.New(memory.Config{})
			defer records.Close()
			fail := false
			shaky := faulty.New(wrap(records), faulty.Config{Decide: func(call faulty.Call) faulty.Fault {
				if fail && call.Op == faulty.List && rnd.IntN(4) == 0 {
					return faulty.Fault{Effect: faulty.LoseReply}
				}
				return faulty.Fault{}
			}})
			cloud, err := sf.Open(ctx, sf.Config{Store: shaky})
			if err != nil {
				t.Fatal(err)
			}
			failed := 0
			for k := range 1000 {
				node := nodeName(rnd.IntN(12))
				key := []string{"sf/node/", "sf/node-live/", "sf/node-used/", "sf/cordon/", "sf/node-lost/"}[rnd.IntN(5)] + node
				op := store.Delete(key)
				if rnd.IntN(3) > 0 {
					op = store.Put(key, fmt.Appendf(nil, `{"~commit":"%036d","~born":"","name":%q,"cpus":%d,"limits":{"cpus":%d}}`, k, node, rnd.IntN(9), rnd.IntN(9)))
				}
				if _, err := records.Commit(ctx, store.Txn{Do: []store.Op{op}}); err != nil {
					t.Fatal(err)
				}
				fail = true
				got, err := cloud.Nodes(ctx)
				if fail = false; err != nil {
					failed++
					continue
				}
				fresh, err := sf.Open(ctx, sf.Config{Store: records})
				if err != nil {
					t.Fatal(err)
				}
				want, err := fresh.Nodes(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range append(got, want...) {
					n.Seen = time.Time{} // by the clock
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("after change %d, of %s: -want +got\n%s", k, key, d)
				}
			}
			if failed == 0 || failed > 900 {
				t.Fatalf("%d readings failed", failed)
			}
		})
	}
}

// Those who look at the nodes at the same time have nothing of each other's.
func TestNodesAtTheSameTime(t *testing.T) {
	ctx := t.Context()
	records := memory.New(memory.Config{})
	defer records.Close()
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		t.Fatal(err)
	}
	if err := furnish(ctx, records, 20); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for range 50 {
				want := sf.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 8, Base: []string{"cirros", "other"}[k%2]}}}
				if _, err := cloud.CreateInstance(ctx, sf.System, want); err != nil {
					t.Error(err)
				}
				place, err := cloud.PlaceInstance(ctx, sf.System, want)
				if err != nil || len(place.Nodes) != 20 || len(place.Refused) != 0 {
					t.Error(place, err)
				}
				nodes, err := cloud.Nodes(ctx)
				if err != nil || len(nodes) != 20 || nodes[7].Name != nodeName(7) || !nodes[7].Live {
					t.Error(len(nodes), err)
				}
			}
		})
	}
	wg.Wait()
	nodes, err := cloud.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range nodes {
		sum += n.Used.Instances
	}
	if sum != 200 {
		t.Errorf("the ledgers have %d instances of 200", sum)
	}
}

// A network is routed by any node that takes something new, and by any at all where none does.
func TestRouterOfANewNetwork(t *testing.T) {
	ctx := t.Context()
	records := memory.New(memory.Config{})
	defer records.Close()
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		t.Fatal(err)
	}
	if err := furnish(ctx, records, 5); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cordon []int
		want   int
	}{{[]int{0, 2}, 3}, {[]int{4}, 2}, {[]int{1, 3}, 5}} {
		for _, k := range c.cordon {
			if err := cloud.CordonNode(ctx, nodeName(k)); err != nil {
				t.Fatal(err)
			}
		}
		routers := map[string]bool{}
		for range 100 {
			n, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/24"})
			if err != nil {
				t.Fatal(err)
			}
			routers[n.Node] = true
		}
		if len(routers) != c.want || c.want < 5 && (routers[nodeName(0)] || routers[nodeName(2)]) {
			t.Errorf("with %v cordoned, too, routers are %v", c.cordon, routers)
		}
	}
}

// A create makes next to nothing per node, however many there are: with a large store
// in memory, collecting such garbage is what a create would cost.
func TestCreateMakesNothingPerNode(t *testing.T) {
	few, many := createMakes(t, 10), createMakes(t, 1000)
	if most := few + 100_000; many > most { // a single list of a thousand records takes 56,000
		t.Errorf("a create makes %d bytes among 1000 nodes, %d among ten", many, few)
	}
}

// createMakes is how many bytes of memory a create allocates among so many nodes that
// all are members of the network and have the image.
func createMakes(t *testing.T, nodes int) uint64 {
	ctx := t.Context()
	records := memory.New(memory.Config{})
	defer records.Close()
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		t.Fatal(err)
	}
	if err := furnish(ctx, records, nodes); err != nil {
		t.Fatal(err)
	}
	network, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	for k := range nodes {
		member := store.Put("sf/member/"+network.UUID+"/"+nodeName(k), []byte(`{}`))
		if _, err := records.Commit(ctx, store.Txn{Do: []store.Op{member}}); err != nil {
			t.Fatal(err)
		}
	}
	want := small("vm", sf.InterfaceSpec{Network: network.UUID})
	want.Disks = []sf.Disk{{SizeGB: 8, Base: "cirros"}}
	var before, after runtime.MemStats
	const rounds = 50
	for k := range 2 + rounds {
		if k == 2 { // the first make what is used again
			runtime.ReadMemStats(&before)
		}
		if _, err := cloud.CreateInstance(ctx, sf.System, want); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / rounds
}

// What a caller does to a node that it was given is not told to the next.
func TestNodesAreTheCallers(t *testing.T) {
	ctx := t.Context()
	records := memory.New(memory.Config{})
	defer records.Close()
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		t.Fatal(err)
	}
	record := `{"~commit":"000000000000000000000000000000000001","~born":"","name":"n","notes":["a"],"buses":["a"],"nic_models":["a"],"video_models":["a"]}`
	if _, err := records.Commit(ctx, store.Txn{Do: []store.Op{store.Put("sf/node/n", []byte(record))}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		nodes, err := cloud.Nodes(ctx)
		if err != nil || len(nodes) != 1 {
			t.Fatal(nodes, err)
		}
		for _, list := range [][]string{nodes[0].Notes, nodes[0].Buses, nodes[0].NICModels, nodes[0].VideoModels} {
			if len(list) != 1 || list[0] != "a" {
				t.Fatalf("a node is %+v", nodes[0])
			}
			list[0] = "mine"
		}
	}
}
