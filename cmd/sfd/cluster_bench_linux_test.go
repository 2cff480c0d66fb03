package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// BenchmarkReachable measures the time from asking for an instance on one node of a cluster
// until it answers another node, against one on the node that asks: the difference is
// the mesh's.
func BenchmarkReachable(b *testing.B) {
	c := newCluster(b, 3)
	for _, n := range c.nodes {
		c.startNode(n)
	}
	ctx, first := timeout(b), c.nodes[0].client
	network, err := first.CreateNetwork(ctx, "", spec.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err != nil {
		b.Fatal(err)
	}
	router := c.router(ctx, c.nodes[0], network.UUID)
	for _, n := range c.nodes { // which brings the image and the network
		c.removed(ctx, c.started(ctx, n, network.UUID))
	}
	names, err := filepath.Glob(filepath.Join(router.dir, "netns", "sf-*"))
	if err != nil || len(names) != 1 {
		b.Fatalf("the router's namespaces: %v, %v", names, err)
	}
	inside, err := os.Open(names[0])
	if err != nil {
		b.Fatal(err)
	}
	defer inside.Close()
	answers := func(n *clusterNode) time.Duration {
		start := time.Now()
		id := c.started(ctx, n, network.UUID)
		nics, err := first.InstanceInterfaces(ctx, id)
		if err != nil {
			b.Fatal(err)
		}
		for echo(inside, nics[0].Address, 50*time.Millisecond) != nil {
			if ctx.Err() != nil {
				b.Fatal("it never answers")
			}
		}
		took := time.Since(start)
		c.removed(ctx, id)
		return took
	}
	var there, here time.Duration
	b.ResetTimer()
	for range b.N {
		there += answers(c.others(router)[0])
		here += answers(router)
	}
	b.ReportMetric(float64(there.Nanoseconds())/float64(b.N), "ns/there")
	b.ReportMetric(float64(here.Nanoseconds())/float64(b.N), "ns/here")
}

// started asks for an instance on a node and waits until it runs.
func (c *cluster) started(ctx context.Context, n *clusterNode, network string) (id string) {
	c.Helper()
	i, err := n.client.CreateInstance(ctx, "", spec.InstanceSpec{
		Name: "one", CPUs: 1, MemoryMiB: 256, PlacedOn: n.name,
		Disks: []spec.Disk{{Base: c.image, SizeGB: 1}}, Interfaces: []spec.InterfaceSpec{{Network: network}},
	})
	if err == nil {
		_, err = n.client.WaitInstance(ctx, i.UUID, client.InstanceCreated)
	}
	if err != nil {
		c.Fatal(err)
	}
	return i.UUID
}

// removed deletes an instance, and returns when it is gone.
func (c *cluster) removed(ctx context.Context, id string) {
	c.Helper()
	if err := c.nodes[0].client.DeleteInstance(ctx, id); err != nil {
		c.Fatal(err)
	}
}
