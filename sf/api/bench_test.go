package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	inmemory "github.com/shakenfist/cloud/store/memory"
)

// populated is a conversation with a cloud of n instances, and the URL of one.
func populated(b *testing.B, n int) (c *conversation, one string) {
	cloud := sftest.NewWith(b, fake.Config{Now: time.Now, Info: driver.Info{CPUs: 256, MemoryMiB: 2 << 20}, Disk: 1 << 50})
	c = converse(b, cloud.Cloud)
	net, err := cloud.CreateNetwork(b.Context(), "demo", spec.NetworkSpec{Name: "net", Netblock: "10.0.0.0/16"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		vm, err := cloud.CreateInstance(b.Context(), "demo", spec.InstanceSpec{
			Name: fmt.Sprintf("vm%d", i), CPUs: 1, MemoryMiB: 512, Disks: []spec.Disk{{SizeGB: 8, Base: "cirros"}},
			Interfaces: []spec.InterfaceSpec{{Network: net.UUID}}, SSHKey: "ssh-ed25519 AAAA", UserData: []byte("#!/bin/sh\n"),
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := cloud.WaitInstance(b.Context(), vm.UUID, sf.InstanceCreated); err != nil {
			b.Fatal(err)
		}
		one = "/instances/" + vm.UUID
	}
	cloud.ComeToRest(b)
	return c, one
}

// in asks without a network in between.
func (c *conversation) in(b *testing.B, url string) {
	r := httptest.NewRequest("GET", url, nil)
	r.Header.Set("Authorization", "Bearer "+c.token("demo"))
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		c.server.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// over asks over loopback, on connections that stay open.
func (c *conversation) over(b *testing.B, url string) {
	h := httptest.NewServer(c.server)
	defer h.Close()
	r, err := http.NewRequest("GET", h.URL+url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token("demo"))
	for b.Loop() {
		w, err := h.Client().Do(r)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, w.Body)
		w.Body.Close()
		if w.StatusCode != 200 {
			b.Fatal(w.Status)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func BenchmarkGetInstance(b *testing.B) {
	c, one := populated(b, 1)
	b.Run("process", func(b *testing.B) { c.in(b, one) })
	b.Run("loopback", func(b *testing.B) { c.over(b, one) })
}

func BenchmarkListThousandInstances(b *testing.B) {
	c, _ := populated(b, 1000)
	b.Run("process", func(b *testing.B) { c.in(b, "/instances") })
	b.Run("loopback", func(b *testing.B) { c.over(b, "/instances") })
}

// BenchmarkRoot is the floor: a request that asks nothing of a cloud.
func BenchmarkRoot(b *testing.B) {
	c := newConversation(b)
	b.Run("process", func(b *testing.B) { c.in(b, "/") })
	b.Run("loopback", func(b *testing.B) { c.over(b, "/") })
}

// firstByte is a ResponseWriter that notes when the first piece of an answer came.
type firstByte struct {
	header http.Header
	start  time.Time
	first  time.Duration
	size   int
}

func (w *firstByte) Header() http.Header { return w.header }
func (w *firstByte) WriteHeader(int)     {}
func (w *firstByte) Write(p []byte) (int, error) {
	if w.size == 0 {
		w.first = time.Since(w.start)
	}
	w.size += len(p)
	return len(p), nil
}

// large is a cloud of so many instances on one simulated host.
func large(b *testing.B, n int) *conversation {
	host := fake.NewHost(fake.Config{Now: time.Now, Info: driver.Info{CPUs: 4096, MemoryMiB: 32 << 20}, Disk: 1 << 60})
	records := inmemory.New(inmemory.Config{})
	cloud, err := sf.Open(b.Context(), sf.Config{Store: records, Node: &sf.NodeConfig{
		Name: "node1", Hypervisor: host.Hypervisor(), Volumes: host.Volumes(), Fabric: fabric.New(fabric.Config{Tag: "bench"}),
		MaxInstances: n,
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cloud.Close(); records.Close() })
	c := converse(b, cloud)
	vm, err := cloud.CreateInstance(b.Context(), "demo", spec.InstanceSpec{
		Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 8, Base: "cirros"}}, SSHKey: "ssh-ed25519 AAAA",
	})
	if err == nil {
		_, err = cloud.WaitInstance(b.Context(), vm.UUID, sf.InstanceCreated)
	}
	if err == nil {
		err = clone(b.Context(), records, vm.UUID, n-1)
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// clone writes what is read of an instance n more times, as other instances.
func clone(ctx context.Context, s store.Store, id string, n int) error {
	var read []store.Record
	for _, key := range []string{"sf/instance/", "sf/instance-status/", "sf/live/instance/demo/"} {
		r, err := s.Get(ctx, key+id)
		if err != nil {
			return err
		}
		read = append(read, r)
	}
	var txn store.Txn
	for k := range n {
		other := fmt.Sprintf("%08x%s", k, id[8:])
		for _, r := range read {
			txn.Do = append(txn.Do, store.Put(strings.Replace(r.Key, id, other, 1), bytes.ReplaceAll(r.Value, []byte(id), []byte(other))))
		}
		if len(txn.Do) < 90 && k < n-1 {
			continue
		}
		if _, err := s.Commit(ctx, txn); err != nil {
			return err
		}
		txn = store.Txn{}
	}
	return nil
}

// BenchmarkListLarge lists 25,000 instances: how long until the first piece comes,
// until a first page of 100 is there, and until all is. Apart from these is the first list
// of all, for which each record is decoded.
func BenchmarkListLarge(b *testing.B) {
	c := large(b, 25_000)
	list := func(url string) *firstByte {
		r := httptest.NewRequest("GET", url, nil)
		r.Header.Set("Authorization", "Bearer "+c.token("demo"))
		w := &firstByte{header: http.Header{}, start: time.Now()}
		c.server.ServeHTTP(w, r)
		return w
	}
	start := time.Now()
	list("/instances")
	cold := time.Since(start)
	for _, url := range []string{"/instances", "/instances?limit=100", "/instances?fields=uuid,name,state"} {
		b.Run(strings.TrimPrefix(url, "/"), func(b *testing.B) {
			var first time.Duration
			size := 0
			for b.Loop() {
				w := list(url)
				first, size = first+w.first, w.size
			}
			if size < 25_000 {
				b.Fatalf("only %d bytes came", size)
			}
			b.ReportMetric(float64(first.Nanoseconds())/float64(b.N)/1e6, "first-ms")
			b.ReportMetric(float64(size)/1e6, "MB")
			b.ReportMetric(float64(cold.Nanoseconds()), "ns/cold")
		})
	}
}

// BenchmarkAuthenticate logs in with a key that has been used before.
func BenchmarkAuthenticate(b *testing.B) {
	c := converse(b, sftest.New(b).Cloud)
	for b.Loop() {
		if w := c.ask("-", "POST", "/auth", nil, `{"namespace": "demo", "key": "secret-of-demo"}`); w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
