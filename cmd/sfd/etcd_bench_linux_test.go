package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
)

// BenchmarkCreatesOnEtcd measures instances created a second by three processes' worth of clouds
// over one etcd, with four simulated nodes at work on them, against bare transactions of
// one key by as many callers on the same etcd.
func BenchmarkCreatesOnEtcd(b *testing.B) {
	const heads, callers, nodes = 3, 24, 4
	endpoint, ctx := startMember(b), sftest.Context(b)
	options := []string{"--etcd-endpoints", endpoint, "--node-ip", "10.9.8.7"}
	for i := range nodes {
		cloud := newSimulated(fmt.Sprint("n", i), 1<<30).serve(b, openOptions(b, options...))
		b.Cleanup(func() { cloud.Close() })
	}
	var clouds []*sf.Cloud
	var stores []store.Store
	for range heads {
		s := openOptions(b, options...)
		cloud, err := sf.Open(ctx, sf.Config{Store: s})
		if err != nil {
			b.Fatal(err)
		}
		clouds, stores = append(clouds, cloud), append(stores, s)
	}
	waitNodes(b, ctx, clouds[0], nodes)
	// share runs fn b.N times, and tells the rate.
	share := func(fn func(i int) error) float64 {
		start := time.Now()
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := c; i < b.N; i += callers {
					if err := fn(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return float64(b.N) / time.Since(start).Seconds()
	}
	value := make([]byte, 1024)
	bare := share(func(i int) error {
		key := fmt.Sprint("bare/", i)
		_, err := stores[i%heads].Commit(ctx, store.Txn{If: []store.Cond{store.Absent(key)}, Do: []store.Op{store.Put(key, value)}})
		return err
	})
	b.ResetTimer()
	creates := share(func(i int) error {
		_, err := clouds[i%heads].CreateInstance(ctx, sf.System, sf.InstanceSpec{Name: "one", CPUs: 1, MemoryMiB: 256, Disks: []sf.Disk{{SizeGB: 1}}})
		return err
	})
	b.StopTimer()
	b.ReportMetric(creates, "creates/s")
	b.ReportMetric(bare, "txns/s")
	b.ReportMetric(creates/bare, "ratio")
}
