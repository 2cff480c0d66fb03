package sf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// Size of the large cloud.
const (
	manyNodes     = 1000
	manyInstances = 100_000
)

// BenchmarkCreateAt creates instances in a cloud of 1,000 nodes that has few and in
// one that has 100,000, and weighs what one instance costs in memory. There are no
// agents: the records are as if written by some.
func BenchmarkCreateAt(b *testing.B) {
	ctx := b.Context()
	records := memory.New(memory.Config{})
	b.Cleanup(func() { records.Close() })
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		b.Fatal(err)
	}
	var txn store.Txn
	for k := range manyNodes {
		n := spec.Node{Name: nodeName(k), Level: spec.Level, Limits: spec.Capacity{CPUs: 1024, MemoryMiB: 1 << 20, DiskGB: 1 << 14, Instances: 1000}}
		for key, v := range map[string]any{"sf/node/": n, "sf/node-live/": struct{}{}, "sf/node-used/": spec.Capacity{}} {
			text, err := json.Marshal(v)
			if err != nil {
				b.Fatal(err)
			}
			txn.Do = append(txn.Do, store.Put(key+n.Name, text))
		}
		if len(txn.Do) < 90 && k < manyNodes-1 {
			continue
		}
		if _, err := records.Commit(ctx, txn); err != nil {
			b.Fatal(err)
		}
		txn = store.Txn{}
	}
	create := func(b *testing.B) (last *sf.Instance) {
		for b.Loop() {
			i, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 8, Base: "cirros"}}})
			if err != nil {
				b.Fatal(err)
			}
			last = i
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		return last
	}
	var one *sf.Instance
	b.Run("few", func(b *testing.B) { one = create(b) })
	if one == nil {
		return // it was not asked for
	}
	before := heap()
	if err := spread(ctx, records, one, manyInstances); err != nil {
		b.Fatal(err)
	}
	each := float64(heap()-before) / manyInstances
	b.Run("100000", func(b *testing.B) {
		create(b)
		b.ReportMetric(each, "B/instance")
	})
}

func nodeName(k int) string { return fmt.Sprintf("node%04d", k) }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// spread writes the records of an instance n more times, as other instances on all
// nodes in turn.
func spread(ctx context.Context, s store.Store, one *sf.Instance, n int) error {
	all, err := s.List(ctx, "sf/", store.Page{})
	if err != nil {
		return err
	}
	var own []store.Record
	for _, r := range all.Records {
		if strings.Contains(r.Key, one.UUID) {
			own = append(own, r)
		}
	}
	for k := range n {
		as := strings.NewReplacer(one.UUID, fmt.Sprintf("%08x%s", k, one.UUID[8:]), one.Node, nodeName(k%manyNodes))
		var txn store.Txn
		for _, r := range own {
			txn.Do = append(txn.Do, store.Put(as.Replace(r.Key), bytes.Clone([]byte(as.Replace(string(r.Value))))))
		}
		if _, err := s.Commit(ctx, txn); err != nil {
			return err
		}
	}
	return nil
}

// counted is a store that counts what is watched of it.
type counted struct {
	store.Store
	watches, events atomic.Int64
}

func (c *counted) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	w, err := c.Store.Watch(ctx, prefix, after)
	c.watches.Add(1)
	return &countedWatcher{w, c}, err
}

type countedWatcher struct {
	store.Watcher
	c *counted
}

func (w *countedWatcher) Next(ctx context.Context) (store.Batch, error) {
	b, err := w.Watcher.Next(ctx)
	w.c.events.Add(int64(len(b.Events)))
	return b, err
}

func (w *countedWatcher) Close() error {
	w.c.watches.Add(-1)
	return w.Watcher.Close()
}

// BenchmarkAgents is what one agent watches and hears of as a cloud grows, with as
// many instances on each node: it must not grow with it.
func BenchmarkAgents(b *testing.B) {
	const perNode = 4
	for _, n := range []int{4, 16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				records := &counted{Store: memory.New(memory.Config{})}
				var clouds []*sf.Cloud
				for k := range n {
					host := fake.NewHost(fake.Config{Now: time.Now})
					c, err := sf.Open(b.Context(), sf.Config{Store: records, Node: &sf.NodeConfig{
						Name: nodeName(k), Address: netip.AddrFrom4([4]byte{10, 64, 0, byte(k + 1)}), SessionTTL: time.Hour, Workers: 2, Transfers: 1,
						Hypervisor: host.Hypervisor(), Volumes: host.Volumes(), Fabric: fabric.New(fabric.Config{Host: fabric.NewHost(), Tag: nodeName(k)}),
					}})
					if err != nil {
						b.Fatal(err)
					}
					clouds = append(clouds, c)
				}
				time.Sleep(time.Second) // what the start of so many makes them hear of, n times n
				started := records.events.Load()
				for k := range n * perNode {
					i, err := clouds[0].CreateInstance(b.Context(), sf.System, sf.InstanceSpec{
						Name: "vm", CPUs: 1, MemoryMiB: 64, PlacedOn: nodeName(k % n), Disks: []sf.Disk{{SizeGB: 8, Base: "cirros"}},
					})
					if err == nil {
						_, err = clouds[0].WaitInstance(b.Context(), i.UUID, sf.InstanceCreated)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(records.watches.Load())/float64(n), "watches/node")
				b.ReportMetric(float64(records.events.Load()-started)/float64(n*perNode), "events/instance")
				for _, c := range clouds {
					if err := c.Close(); err != nil {
						b.Fatal(err)
					}
				}
				records.Close()
			}
		})
	}
}
