package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
)

// clusterTTL is the nodes' time-out here, so that nobody has to wait for the usual.
const clusterTTL = 6 * time.Second

// cluster is several machines, each a namespace with an address on an underlay, an
// etcd and an sfd.
type cluster struct {
	*testing.T
	underlay *os.File // a bridge, and the way to the world
	image    string
	nodes    []*clusterNode
	network  string
}

// clusterNode is a machine of a cluster.
type clusterNode struct {
	*lab
	name, address string
	etcd          *exec.Cmd
	etcdEnded     chan struct{}

	id, inside string // its guest's UUID and address
	guest      *guest.Console
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	need.Program(t, "etcd", "etcd-server")
	ip := need.Program(t, "ip", "iproute2")
	c := &cluster{T: t}
	base := &lab{T: t, dir: t.TempDir()}
	c.underlay = base.namespace()
	do := func(ns *os.File, format string, args ...any) {
		t.Helper()
		line := fmt.Sprintf(format, args...)
		if out, err := base.run(ns, ip, strings.Fields(line)...); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	do(c.underlay, "link set lo up")
	do(c.underlay, "link add br0 type bridge")
	do(c.underlay, "address add 203.0.113.254/24 dev br0")
	do(c.underlay, "address add %s/32 dev lo", beyond)
	do(c.underlay, "link set br0 up")
	path := guest.Image(t)
	c.image = "http://" + base.serve(c.underlay, "203.0.113.254:0", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) }) + "/guest.qcow2"
	for k := range n {
		node := &clusterNode{name: fmt.Sprintf("sf-%d", k+1), address: fmt.Sprintf("203.0.113.%d", k+1)}
		node.lab = &lab{T: t, dir: t.TempDir(), image: c.image}
		node.machine = base.namespace()
		do(node.machine, "link set lo up")
		do(c.underlay, "link add p%d type veth peer name eth0 netns /proc/%d/fd/%d", k, os.Getpid(), node.machine.Fd())
		do(c.underlay, "link set p%d master br0 up", k)
		do(node.machine, "address add %s/24 dev eth0", node.address)
		do(node.machine, "link set eth0 up")
		do(node.machine, "route add default via 203.0.113.254")
		var err error
		if node.log, err = os.Create(filepath.Join(node.dir, "sfd.log")); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, node)
		t.Cleanup(node.close)
	}
	for _, node := range c.nodes {
		c.startEtcd(node)
	}
	t.Cleanup(func() {
		for _, node := range c.nodes {
			node.killEtcd()
		}
	})
	return c
}

// startEtcd starts a node's member, anew where it was killed.
func (c *cluster) startEtcd(node *clusterNode) {
	c.Helper()
	var all []string
	for _, n := range c.nodes {
		all = append(all, fmt.Sprintf("%s=http://%s:2380", n.name, n.address))
	}
	client, peer := "http://"+node.address+":2379", "http://"+node.address+":2380"
	node.etcd = exec.Command("etcd", "--name", node.name, "--data-dir", filepath.Join(node.dir, "etcd"), "--initial-cluster", strings.Join(all, ","),
		"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--log-level", "error")
	if err := in(node.machine, node.etcd.Start); err != nil {
		c.Fatal(err)
	}
	node.etcdEnded = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(node.etcd, node.etcdEnded)
}

func (n *clusterNode) killEtcd() {
	n.etcd.Process.Kill()
	<-n.etcdEnded
}

// startNode starts a node's sfd.
func (c *cluster) startNode(n *clusterNode) {
	c.Helper()
	var endpoints []string
	for _, o := range c.nodes {
		endpoints = append(endpoints, "http://"+o.address+":2379")
	}
	n.more = []string{
		"--node-name", n.name, "--node-ip", n.address, "--etcd-endpoints", strings.Join(endpoints, ","),
		"--node-timeout", clusterTTL.String(), "--self-fence", "5s",
	}
	n.start()
}

// ping pings from the guest of a node, and returns nil when an answer came.
func (n *clusterNode) ping(ctx context.Context, to string) error {
	if n.guest == nil {
		n.guest = n.console(n.Context(), n.id)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, status, err := n.guest.Run(ctx, "ping -c 1 -W 1 "+to)
	if err != nil {
		n.guest = nil
	} else if status != 0 {
		err = fmt.Errorf("ping %s from the guest of %s: %s", to, n.name, out)
	}
	return err
}

// kill ends a node's sfd as a crash would.
func (n *clusterNode) kill() {
	n.guest = nil
	n.lab.kill()
}

// soon tries until something is so.
func (c *cluster) soon(ctx context.Context, what string, try func() error) {
	c.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second) // a safety net
	defer cancel()
	for {
		err := try()
		if err == nil {
			c.Logf("%s: after %v", what, time.Since(start).Round(100*time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			c.Fatalf("%s: it does not come to that: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// others are the nodes that are not n.
func (c *cluster) others(n *clusterNode) []*clusterNode {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(o *clusterNode) bool { return o == n })
}

// router is the node that routes the network, by the word of another.
func (c *cluster) router(ctx context.Context, by *clusterNode) *clusterNode {
	c.Helper()
	n, err := by.client.Network(ctx, c.network)
	if err != nil {
		c.Fatal(err)
	}
	return c.nodes[slices.IndexFunc(c.nodes, func(o *clusterNode) bool { return o.name == n.Node })]
}

// Three machines are one cloud: guests on each reach each other and the world, any
// node answers for all, routers move when their node is killed or stopped, an outage
// of etcd stops nothing, and a lost node's instance is started elsewhere.
func TestCluster(t *testing.T) {
	c := newCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	t.Cleanup(cancel)
	c.populate(ctx)
	for _, n := range c.nodes {
		c.reachable(ctx, n)
	}
	c.loseStore(ctx)
	c.loseRouter(ctx, "killed", func(n *clusterNode) { n.kill() }, func(n *clusterNode) { n.start() })
	c.loseRouter(ctx, "stopped", func(n *clusterNode) { n.cmd.Process.Signal(syscall.SIGSTOP) }, func(n *clusterNode) { n.cmd.Process.Signal(syscall.SIGCONT) })
	c.loseNode(ctx)
	c.empty(ctx)
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
		n.id, n.inside = i.UUID, nics[0].Address.String()
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

// loseStore kills all of etcd for longer than sessions live.
func (c *cluster) loseStore(ctx context.Context) {
	for _, n := range c.nodes {
		n.killEtcd()
	}
	for end := time.Now().Add(3 * clusterTTL); time.Now().Before(end); time.Sleep(time.Second) {
		for _, n := range c.nodes {
			if n.ping(ctx, beyond) != nil && n.ping(ctx, beyond) != nil { // one may be lost
				c.Errorf("%s: the world is not reached while etcd is away", n.name)
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

// loseRouter harms the node that routes, and heals it.
func (c *cluster) loseRouter(ctx context.Context, how string, harm, heal func(*clusterNode)) {
	c.Helper()
	was := c.router(ctx, c.nodes[0])
	by := c.others(was)[0]
	harm(was)
	c.soon(ctx, was.name+" is "+how+": another routes", func() error {
		if now := c.router(ctx, by); now == was {
			return fmt.Errorf("%s still does", was.name)
		}
		return by.ping(ctx, beyond)
	})
	heal(was)
	c.soon(ctx, was.name+" is back", func() error { return by.ping(ctx, was.inside) })
	c.reachable(ctx, was)
}

// loseNode kills a node's daemon for good, and starts its instance elsewhere.
func (c *cluster) loseNode(ctx context.Context) {
	lost, by := c.nodes[2], c.nodes[0]
	lost.kill()
	var moved *spec.Instance
	c.soon(ctx, "the guard has struck: the instance starts elsewhere", func() (err error) {
		moved, err = by.client.RecoverInstance(ctx, lost.id, false)
		return err
	})
	if m := lost.machines(); moved.Node == lost.name || len(m) > 0 {
		c.Errorf("it is on %s, and %s has machines %v", moved.Node, lost.name, m)
	}
	c.soon(ctx, "it answers at its old address", func() error { return by.ping(ctx, lost.inside) })
	lost.start()
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
		n.stop()
	}
}
