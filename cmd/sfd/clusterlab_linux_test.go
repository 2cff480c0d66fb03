package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
)

// clusterTTL is the nodes' time-out here, so that nobody has to wait for the usual.
const clusterTTL = 6 * time.Second

// clusterFence is after how long without its session a node stops its machines:
// enough for an outage that is mended before.
const clusterFence = 10 * time.Second

// Addresses of the world: what it routes the floating network to, and a machine of
// an office, which has the floating network on its own segment.
const edgeAddress, officeAddress = "203.0.113.50", "192.168.20.1"

// cluster is several machines, each a namespace with an address on an underlay, an
// etcd and an sfd.
type cluster struct {
	testing.TB
	base     *lab
	ip       string
	underlay *os.File // a bridge, and the way to the world
	office   *os.File // the bridge of the nodes' second cables, and a machine
	image    string
	fetched  atomic.Int32 // downloads of the image from its origin
	nodes    []*clusterNode
	network  string
}

// clusterNode is a machine of a cluster.
type clusterNode struct {
	*lab
	name, address string
	port          string   // of the underlay's bridge, that its cable is in
	outside       []string // options about the outside
	etcd          *exec.Cmd
	etcdEnded     chan struct{}

	id, nic, inside string // UUIDs of its guest and its interface, and address
	guest           *guest.Console
	via             *clusterNode // that is asked for its console; nil for the node itself
}

func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	need.Program(t, "etcd", "etcd-server")
	need.Program(t, "nft", "nftables")
	c := &cluster{TB: t, base: &lab{TB: t, daemon: &daemon{}, dir: t.TempDir()}, ip: need.Program(t, "ip", "iproute2")}
	c.underlay, c.office = c.base.namespace(), c.base.namespace()
	for ns, address := range map[*os.File]string{c.underlay: "203.0.113.254/24", c.office: officeAddress + "/24"} {
		for _, line := range []string{
			"link set lo up", "address add " + beyond + "/32 dev lo", "link add br0 type bridge", "link set br0 up", "address add " + address + " dev br0",
		} {
			c.do(ns, line)
		}
	}
	c.do(c.underlay, "route add 192.168.20.0/24 via "+edgeAddress)
	path := guest.Image(t)
	c.image = "http://" + c.base.serve(c.underlay, "203.0.113.254:0", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=0-0" { // which asks what there is
			c.fetched.Add(1)
		}
		http.ServeFile(w, r, path)
	}) + "/guest.qcow2"
	for k := range n {
		c.addNode(k)
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

// do runs ip in a namespace.
func (c *cluster) do(ns *os.File, line string) {
	c.Helper()
	if out, err := c.base.run(ns, c.ip, strings.Fields(line)...); err != nil {
		c.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// addNode makes a machine with a cable into the underlay and one into the office.
func (c *cluster) addNode(k int) {
	node := &clusterNode{name: fmt.Sprintf("sf-%d", k+1), address: fmt.Sprintf("203.0.113.%d", k+1), port: fmt.Sprintf("p%d", k)}
	node.lab = &lab{TB: c.TB, daemon: &daemon{}, dir: c.TempDir(), image: c.image}
	node.outside = []string{"--floating-mode", "routed", "--edge-address", edgeAddress + "/24", "--node-egress-nic", "eth0"}
	node.machine = c.base.namespace()
	c.do(node.machine, "link set lo up")
	for _, cable := range []struct {
		to     *os.File
		device string
		mtu    int
	}{{c.underlay, "eth0", 9000}, {c.office, "seg0", 1500}} {
		c.do(cable.to, fmt.Sprintf("link add %s mtu %d type veth peer name %s mtu %d netns /proc/%d/fd/%d",
			node.port, cable.mtu, cable.device, cable.mtu, os.Getpid(), node.machine.Fd()))
		c.do(cable.to, fmt.Sprintf("link set %s master br0 up", node.port))
		c.do(node.machine, "link set "+cable.device+" up")
	}
	c.do(node.machine, "address add "+node.address+"/24 dev eth0")
	c.do(node.machine, "route add default via 203.0.113.254")
	var err error
	if node.log, err = os.Create(filepath.Join(node.dir, "sfd.log")); err != nil {
		c.Fatal(err)
	}
	c.nodes = append(c.nodes, node)
	c.Cleanup(node.close)
}

// unplug pulls a node's cable out of the underlay; plug puts it in again.
func (c *cluster) unplug(n *clusterNode) { c.do(c.underlay, "link set "+n.port+" nomaster") }
func (c *cluster) plug(n *clusterNode)   { c.do(c.underlay, "link set "+n.port+" master br0") }

// during has a part of the test fail by itself.
func (c *cluster) during(t testing.TB) {
	c.TB, c.base.TB = t, t
	for _, n := range c.nodes {
		n.TB, n.guest, n.via = t, nil, nil // a console ends with who opened it
	}
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
	n.more = append([]string{
		"--node-name", n.name, "--node-ip", n.address, "--etcd-endpoints", strings.Join(endpoints, ","),
		"--node-timeout", clusterTTL.String(), "--self-fence", clusterFence.String(),
	}, n.outside...)
	n.start()
}

// ping pings from the guest of a node, and returns nil when an answer came.
func (n *clusterNode) ping(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if n.guest == nil {
		var err error
		if n.guest, err = cmp.Or(n.via, n).tryConsole(ctx, n.id); err != nil {
			n.guest = nil
			return err
		}
	}
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
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute) // a safety net
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

// router is the node that routes a network, by the word of another.
func (c *cluster) router(ctx context.Context, by *clusterNode, network string) *clusterNode {
	c.Helper()
	n, err := by.client.Network(ctx, network)
	if err != nil {
		c.Fatal(err)
	}
	return c.node(n.Node)
}

func (c *cluster) node(name string) *clusterNode {
	return c.nodes[slices.IndexFunc(c.nodes, func(o *clusterNode) bool { return o.name == name })]
}

// home is where the guest that was begun on a node runs now.
func (c *cluster) home(ctx context.Context, guest *clusterNode) *clusterNode {
	c.Helper()
	i, err := guest.client.Instance(ctx, guest.id)
	if err != nil {
		c.Fatal(err)
	}
	return c.node(i.Node)
}

// live says what others know of a node, as "node list" shows it.
func (c *cluster) live(ctx context.Context, by, n *clusterNode) (known *spec.Node, err error) {
	nodes, err := by.client.Nodes(ctx)
	for _, known := range nodes {
		if known.Name == n.name {
			return known, nil
		}
	}
	return nil, fmt.Errorf("%s is not in the list: %w", n.name, err)
}
