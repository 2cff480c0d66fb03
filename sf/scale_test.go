package sf_test

import (
	"context"
	"crypto/sha256"
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

// BenchmarkCreateAt is what calls cost in a cloud of 1,000 nodes that has few instances
// and in one that has 100,000 on one network, and what one of these takes of the
// memory. There are no agents: the records are as if written by some.
func BenchmarkCreateAt(b *testing.B) {
	ctx := b.Context()
	records := memory.New(memory.Config{})
	b.Cleanup(func() { records.Close() })
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		b.Fatal(err)
	}
	if err := furnish(ctx, records, manyNodes); err != nil {
		b.Fatal(err)
	}
	network, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/8"})
	if err != nil {
		b.Fatal(err)
	}
	want := sf.InstanceSpec{
		Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 8, Base: "cirros"}},
		Interfaces: []sf.InterfaceSpec{{Network: network.UUID}},
	}
	one, err := cloud.CreateInstance(ctx, sf.System, want)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("few", func(b *testing.B) { calls(b, cloud, want) })
	before := heap()
	if err := spread(ctx, records, one, manyInstances); err != nil {
		b.Fatal(err)
	}
	each := float64(heap()-before) / manyInstances
	b.Run("100000", func(b *testing.B) { calls(b, cloud, want) })
	b.Run("memory", func(b *testing.B) {
		for b.Loop() { // it was measured already
		}
		b.ReportMetric(each, "B/instance")
	})
}

// calls measures some calls side by side.
func calls(b *testing.B, cloud *sf.Cloud, want sf.InstanceSpec) {
	ctx := b.Context()
	create := func(b *testing.B) string {
		i, err := cloud.CreateInstance(ctx, sf.System, want)
		if err != nil {
			b.Fatal(err)
		}
		return i.UUID
	}
	for _, call := range []struct {
		what string
		do   func(b *testing.B)
	}{
		{"create", func(b *testing.B) { create(b) }},
		{"delete", func(b *testing.B) {
			b.StopTimer()
			id := create(b)
			b.StartTimer()
			if err := cloud.DeleteInstance(ctx, id); err != nil {
				b.Fatal(err)
			}
		}},
		{"network", func(b *testing.B) {
			if _, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "other", Netblock: "10.0.0.0/24"}); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(call.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call.do(b)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
	id := create(b)
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := cloud.Instance(ctx, id); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	})
}

// furnish writes what there is of n nodes that run and have the image in their caches.
func furnish(ctx context.Context, s store.Store, n int) error {
	image := fmt.Sprintf("sf/image/%x/", sha256.Sum256([]byte("cirros")))
	for k := range n {
		name := nodeName(k)
		node := spec.Node{Name: name, Level: spec.Level, Limits: spec.Capacity{CPUs: 1024, MemoryMiB: 1 << 20, DiskGB: 1 << 14, Instances: 1000}}
		text, err := json.Marshal(node)
		if err != nil {
			return err
		}
		if _, err := s.Commit(ctx, store.Txn{Do: []store.Op{
			store.Put("sf/node/"+name, text),
			store.Put("sf/node-live/"+name, []byte(`{}`)),
			store.Put("sf/node-used/"+name, []byte(`{}`)),
			store.Put(image+name, []byte(`{}`)),
		}}); err != nil {
			return err
		}
	}
	return nil
}

func nodeName(k int) string { return fmt.Sprintf("node%04d", k) }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// spread writes the records of an instance n more times, as other instances on all
// nodes in turn, with an address each.
func spread(ctx context.Context, s store.Store, one *sf.Instance, n int) error {
	all, err := s.List(ctx, "sf/", store.Page{})
	if err != nil {
		return err
	}
	nic := one.NICs[0]
	var own []store.Record
	for _, r := range all.Records {
		if text := r.Key + string(r.Value); strings.Contains(text, one.UUID) || strings.Contains(text, nic.UUID) {
			own = append(own, r)
		}
	}
	address, mac := claimed(own, "sf/address/"), claimed(own, "sf/mac/")
	for k := range n {
		node := nodeName(k % manyNodes)
		as := strings.NewReplacer(
			one.UUID, fmt.Sprintf("%08x%s", k, one.UUID[8:]), nic.UUID, fmt.Sprintf("%08x%s", k, nic.UUID[8:]), one.Node, node,
			address, fmt.Sprintf("10.%d.%d.%d", 100+k/60000, k/240%250, 2+k%240), mac, fmt.Sprintf("02:ff:00:%02x:%02x:%02x", k>>16, k>>8&255, k&255),
		)
		txn := store.Txn{Do: []store.Op{
			store.Put("sf/member/"+nic.Network+"/"+node, []byte(`{}`)),
			store.Put("sf/work/"+node+"/network/"+nic.Network, []byte(`{}`)),
		}}
		for _, r := range own {
			txn.Do = append(txn.Do, store.Put(as.Replace(r.Key), []byte(as.Replace(string(r.Value)))))
		}
		if _, err := s.Commit(ctx, txn); err != nil {
			return err
		}
	}
	return nil
}

// claimed is what a record below a prefix is a claim on.
func claimed(records []store.Record, prefix string) string {
	for _, r := range records {
		if strings.HasPrefix(r.Key, prefix) {
			return r.Key[strings.LastIndex(r.Key, "/")+1:]
		}
	}
	return ""
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
