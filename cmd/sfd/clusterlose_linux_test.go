package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// loseStore kills all of etcd for longer than sessions live.
func (c *cluster) loseStore(ctx context.Context) {
	for _, n := range c.nodes {
		c.reachable(ctx, n) // and its console is open: that takes records
	}
	for _, n := range c.nodes {
		n.killEtcd()
	}
	for end := time.Now().Add(2 * clusterTTL); time.Now().Before(end); time.Sleep(time.Second) {
		for _, n := range c.nodes {
			err := n.ping(ctx, beyond)
			if err != nil { // one may be lost
				err = n.ping(ctx, beyond)
			}
			if err != nil {
				c.Errorf("%s: the world is not reached while etcd is away: %v", n.name, err)
			}
		}
	}
	for _, n := range c.nodes {
		c.startEtcd(n)
	}
	c.soon(ctx, "etcd is back, and all nodes", func() error {
		nodes, err := c.nodes[0].client.Nodes(ctx)
		for _, n := range nodes {
			if !n.Live {
				return fmt.Errorf("%s is not there", n.Name)
			}
		}
		return err
	})
}

// rollStore restarts etcd's members one by one, while something is always changed.
func (c *cluster) rollStore(ctx context.Context) {
	rolled, done := make(chan struct{}), make(chan error)
	changes := 0
	go func() {
		for ; ; changes++ {
			n := c.nodes[changes%len(c.nodes)]
			net, err := n.client.CreateNetwork(ctx, "", spec.NetworkSpec{Name: "busy", Netblock: "10.1.0.0/24", DHCP: true, NAT: true})
			if err == nil {
				err = n.client.DeleteNetwork(ctx, net.UUID)
			}
			select {
			case <-rolled:
				done <- err
				return
			default:
			}
			if err != nil {
				<-rolled
				done <- fmt.Errorf("change %d, by way of %s: %w", changes, n.name, err)
				return
			}
		}
	}()
	for _, n := range c.nodes {
		n.killEtcd()
		time.Sleep(time.Second) // the others elect
		c.startEtcd(n)
		c.soon(ctx, n.name+": its etcd is back", func() error { return c.healthy(ctx, n) })
	}
	close(rolled)
	if err := <-done; err != nil {
		c.Error(err)
	}
	c.Logf("%d networks were made and deleted meanwhile", changes)
}

// healthy returns nil when a node's etcd takes part.
func (c *cluster) healthy(ctx context.Context, n *clusterNode) error {
	conn, err := dial(ctx, n.machine, n.address+":2379")
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "GET /health HTTP/1.0\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err == nil && !strings.Contains(string(answer), `"health":"true"`) {
		err = fmt.Errorf("%s", answer)
	}
	return err
}

// partition cuts the node that routes off from etcd, and from nothing else.
func (c *cluster) partition(ctx context.Context) {
	was := c.router(ctx, c.nodes[0], c.network)
	by := c.others(was)[0]
	c.nft(was, "add table inet cut; add chain inet cut out { type filter hook output priority 0; }; add rule inet cut out tcp dport 2379 drop")
	c.soon(ctx, was.name+" is cut off: another routes", func() error {
		if c.router(ctx, by, c.network) == was {
			return fmt.Errorf("%s still does", was.name)
		}
		return by.ping(ctx, beyond)
	})
	c.soon(ctx, was.name+": its guard has struck, over the head of the daemon", func() error {
		if m := was.machines(); len(m) > 0 {
			return fmt.Errorf("%v run", m)
		}
		return nil
	})
	c.nft(was, "delete table inet cut")
	c.soon(ctx, was.name+" is back", func() error { return c.returned(ctx, by, was) })
	c.reachable(ctx, was)
	c.floats(ctx, c.underlay)
}

func (c *cluster) nft(n *clusterNode, rules string) {
	c.Helper()
	if out, err := n.run(n.machine, "nft", rules); err != nil {
		c.Fatalf("nft %s: %v: %s", rules, err, out)
	}
}

func (c *cluster) returned(ctx context.Context, by, n *clusterNode) error {
	known, err := c.live(ctx, by, n)
	if err == nil && !known.Live {
		err = fmt.Errorf("%s is not there", n.name)
	}
	return err
}

// loseRouter harms the node that routes, and heals it.
func (c *cluster) loseRouter(ctx context.Context, how string, harm, heal func(*clusterNode)) {
	c.Helper()
	was := c.router(ctx, c.nodes[0], c.network)
	by := c.others(was)[0]
	harm(was)
	c.soon(ctx, was.name+" is "+how+": another routes", func() error {
		if c.router(ctx, by, c.network) == was {
			return fmt.Errorf("%s still does", was.name)
		}
		return by.ping(ctx, beyond)
	})
	heal(was)
	c.soon(ctx, was.name+" is back", func() error { return by.ping(ctx, was.inside) })
	c.reachable(ctx, was)
	c.floats(ctx, c.underlay)
}

// loseHost pulls the cable of the host that is the edge, and starts its guest
// elsewhere at once, by the operator's word. The host, which has run the guest all
// the while, ends it before it counts as there again.
func (c *cluster) loseHost(ctx context.Context) {
	lost := c.router(ctx, c.nodes[0], spec.FloatingNetwork)
	by := c.others(lost)[0]
	before, err := by.client.InstanceInterfaces(ctx, lost.id)
	if err != nil {
		c.Fatal(err)
	}
	c.unplug(lost)
	c.soon(ctx, lost.name+" has no cable: others say that it is gone", func() error {
		known, err := c.live(ctx, by, lost)
		if err == nil && known.Live {
			err = fmt.Errorf("%s is said to be there, and heard of at %v", lost.name, known.Seen)
		}
		return err
	})
	moved, err := by.client.RecoverInstance(ctx, lost.id, true)
	if err != nil {
		c.Fatal(err)
	}
	if lost.machines()[lost.id] == 0 {
		c.Log("its guard was quicker than we")
	}
	c.soon(ctx, "another is the edge, another routes", func() error {
		if c.router(ctx, by, spec.FloatingNetwork) == lost || c.router(ctx, by, c.network) == lost {
			return fmt.Errorf("%s still is", lost.name)
		}
		return by.ping(ctx, beyond)
	})
	c.plug(lost)
	c.soon(ctx, lost.name+" is back", func() error { return c.returned(ctx, by, lost) })
	if pid := lost.machines()[lost.id]; pid != 0 {
		c.Errorf("%s counts as there, and has a machine that runs on %s", lost.name, moved.Node)
	}
	c.soon(ctx, "the guest answers at its old address", func() error { return by.ping(ctx, lost.inside) })
	after, err := by.client.InstanceInterfaces(ctx, lost.id)
	if err != nil || after[0].Address != before[0].Address || after[0].MAC != before[0].MAC || after[0].UUID != before[0].UUID {
		c.Errorf("interface %+v became %+v, %v", before[0], after[0], err)
	}
	for _, n := range c.nodes {
		c.reachable(ctx, n)
	}
	c.floats(ctx, c.underlay)
}

// loseNode kills a node's daemon for good, and starts its instance elsewhere.
func (c *cluster) loseNode(ctx context.Context) {
	guest := c.nodes[2]
	lost := c.home(ctx, guest)
	by := c.others(lost)[0]
	k := slices.IndexFunc(c.nodes, func(n *clusterNode) bool { return c.home(ctx, n) != lost })
	if k < 0 {
		c.Fatalf("all guests are on %s", lost.name)
	}
	witness := c.nodes[k]
	witness.via = by
	lost.kill()
	var moved *spec.Instance
	c.soon(ctx, "the guard has struck: the instance starts elsewhere", func() (err error) {
		moved, err = by.client.RecoverInstance(ctx, guest.id, false)
		return err
	})
	if m := lost.machines(); moved.Node == lost.name || len(m) > 0 {
		c.Errorf("it is on %s, and %s has machines %v", moved.Node, lost.name, m)
	}
	lost.start()
	c.soon(ctx, "it answers at its old address", func() error { return witness.ping(ctx, guest.inside) })
	for _, n := range c.nodes {
		c.reachable(ctx, n)
	}
}

// drain empties the node that routes.
func (c *cluster) drain(ctx context.Context) {
	n := c.home(ctx, c.nodes[1]) // whose guest has a floating address
	by := c.others(n)[0]
	d, err := by.client.DrainNode(ctx, n.name, client.DrainOptions{Recover: true, Ask: -1})
	if err != nil || len(d.Remains) > 0 || len(d.Recovered) == 0 {
		c.Fatalf("drained: %+v, %v", d, err)
	}
	known, err := c.live(ctx, by, n)
	if err != nil || !known.Live || !known.Cordoned || known.Used.Instances != 0 || c.router(ctx, by, c.network) == n || c.router(ctx, by, spec.FloatingNetwork) == n {
		c.Errorf("the drained node: %+v, %v", known, err)
	}
	for _, o := range c.nodes {
		if c.home(ctx, o) == n {
			c.Errorf("the guest of %s is still on %s", o.name, n.name)
		}
		c.reachable(ctx, o)
	}
	c.floats(ctx, c.underlay)
	if err := by.client.UncordonNode(ctx, n.name); err != nil {
		c.Error(err)
	}
}

// empty deletes everything, and sees that nothing is left.
func (c *cluster) empty(ctx context.Context) {
	for _, n := range c.nodes {
		if err := c.nodes[0].client.DeleteInstance(ctx, n.id); err != nil {
			c.Error(err)
		}
	}
	c.soon(ctx, "all instances are gone, and the network can go", func() error { return c.nodes[1].client.DeleteNetwork(ctx, c.network) })
	for _, n := range c.nodes {
		c.soon(ctx, n.name+": nothing is left", func() error {
			names, err := os.ReadDir(filepath.Join(n.dir, "netns"))
			if m := n.machines(); err == nil && len(names)+len(m) > 0 {
				err = fmt.Errorf("%v, %v", names, m)
			}
			return err
		})
		// What serves a network ends with it: that is no cause for alarm.
		if log, err := os.ReadFile(n.log.Name()); err != nil || strings.Contains(string(log), "server ended; starting another") {
			c.Errorf("%s: its log tells of servers that ended, %v", n.name, err)
		}
	}
}
