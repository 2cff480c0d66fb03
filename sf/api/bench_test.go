package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
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
