package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// Three machines are one cloud: guests on each reach each other and the world, any
// node answers for all, and whatever is lost, others go on without it, and the cloud
// comes to rest with nothing running twice, missing or left over.
func TestCluster(t *testing.T) {
	c := newCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // a safety net
	t.Cleanup(cancel)
	for _, part := range []struct {
		name string
		run  func(context.Context)
	}{
		{"populate", c.populate},
		{"floating", c.floatRouted},
		{"etcd is away", c.loseStore},
		{"etcd restarts", c.rollStore},
		{"a node is cut off from etcd", c.partition},
		{"the router's daemon is killed", func(ctx context.Context) {
			c.loseRouter(ctx, "killed", func(n *clusterNode) { n.kill() }, func(n *clusterNode) { n.start() })
		}},
		{"the router's daemon is stopped", func(ctx context.Context) {
			c.loseRouter(ctx, "stopped", func(n *clusterNode) { n.cmd.Process.Signal(syscall.SIGSTOP) }, func(n *clusterNode) { n.cmd.Process.Signal(syscall.SIGCONT) })
		}},
		{"a host loses its cable", c.loseHost},
		{"a daemon is gone for good", c.loseNode},
		{"a node is drained", c.drain},
		{"floating on the office's segment", c.floatL2},
		{"empty", c.empty},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			c.during(t)
			part.run(ctx)
			c.settled(ctx)
		}) {
			break // the others build on it
		}
	}
	c.during(t)
}

// populate starts everything: a network, and a guest on each node.
func (c *cluster) populate(ctx context.Context) {
	for _, n := range c.nodes {
		c.startNode(n)
	}
	first := c.nodes[0].client
	if nodes, err := first.Nodes(ctx); err != nil || len(nodes) != len(c.nodes) {
		c.Fatalf("%d nodes, %v", len(nodes), err)
	}
	network, err := first.CreateNetwork(ctx, "", spec.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err != nil {
		c.Fatal(err)
	}
	c.network = network.UUID
	for _, n := range c.nodes {
		i, err := first.CreateInstance(ctx, "", spec.InstanceSpec{
			Name: "on-" + n.name, CPUs: 1, MemoryMiB: 256, PlacedOn: n.name,
			Disks: []spec.Disk{{Base: c.image, SizeGB: 1}}, Interfaces: []spec.InterfaceSpec{{Network: c.network}},
		})
		if err != nil {
			c.Fatal(err)
		}
		nics, err := first.InstanceInterfaces(ctx, i.UUID)
		if err != nil {
			c.Fatal(err)
		}
		n.id, n.nic, n.inside = i.UUID, nics[0].UUID, nics[0].Address.String()
		if n == c.nodes[0] { // the others get its image from there
			if _, err := first.WaitInstance(ctx, i.UUID, client.InstanceCreated); err != nil {
				c.Fatal(err)
			}
		}
	}
	for k, n := range c.nodes {
		by := c.nodes[(k+1)%len(c.nodes)]
		c.soon(ctx, n.name+": its guest's console log by way of "+by.name, func() error {
			log, err := by.client.ConsoleLog(ctx, n.id, 1<<16)
			if err == nil && !strings.Contains(string(log), "login") {
				i, _ := by.client.Instance(ctx, n.id)
				err = fmt.Errorf("no login prompt yet in %d bytes; the instance is %+v", len(log), i.Status)
			}
			return err
		})
		if _, status, err := by.console(ctx, n.id).Run(ctx, "true"); err != nil || status != 0 {
			c.Errorf("the console of %s by way of %s: status %d, %v", n.name, by.name, status, err)
		}
	}
	if n := c.fetched.Load(); n != 1 {
		c.Errorf("the image was downloaded %d times from its origin: two nodes have a neighbour that had it", n)
	}
	for _, n := range c.nodes {
		c.reachable(ctx, n)
		if out, _, err := n.guest.Run(ctx, "cat /sys/class/net/eth0/mtu"); err != nil || strings.TrimSpace(out) != "8950" {
			c.Errorf("%s: its guest's MTU is %q on an underlay of 9000, %v", n.name, out, err)
		}
	}
}

// reachable waits until a node's guest reaches all others and the world.
func (c *cluster) reachable(ctx context.Context, n *clusterNode) {
	c.Helper()
	c.soon(ctx, n.name+": its guest reaches all others and the world", func() error {
		for _, to := range c.nodes {
			if err := n.ping(ctx, to.inside); err != nil {
				return err
			}
		}
		return n.ping(ctx, beyond)
	})
}
