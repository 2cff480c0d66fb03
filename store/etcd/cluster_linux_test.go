package etcd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// cluster is an etcd of three members, each in a network namespace with one link to
// the others and one to its clients, so that each can be cut without a word. The
// clients' links end in a hub namespace; fronts carry connections there.
type cluster struct {
	t       testing.TB
	hub     *namespace
	members []*member
}

type member struct {
	server
	name  string
	ns    *namespace
	front *front
}

// startCluster starts a cluster that ends with the test.
func startCluster(t testing.TB, release string) *cluster {
	t.Helper()
	need.Root(t)
	need.Program(t, "ip", "iproute2")
	bin := binary(t, release)
	c := &cluster{t: t, hub: newNamespace(t)}
	c.hub.ip(t, "link add hub type bridge", "link set hub up")
	var all []string
	for i := 1; i <= 3; i++ {
		m := &member{name: fmt.Sprint("m", i), ns: newNamespace(t)}
		c.hub.ip(t,
			fmt.Sprintf("link add p%d type veth peer name peers netns %s", i, m.ns.path()),
			fmt.Sprintf("link set p%d master hub up", i),
			fmt.Sprintf("link add c%d type veth peer name clients netns %s", i, m.ns.path()),
			fmt.Sprintf("address add 10.9.%d.1/30 dev c%d", i, i), fmt.Sprintf("link set c%d up", i))
		m.ns.ip(t, "link set lo up", fmt.Sprintf("address add 10.8.0.%d/24 dev peers", i), "link set peers up",
			fmt.Sprintf("address add 10.9.%d.2/30 dev clients", i), "link set clients up")
		m.front = newFront(t, c.hub, fmt.Sprintf("10.9.%d.2:2379", i))
		m.server = server{bin: bin, dir: t.TempDir(), scheme: "http", client: m.front.address()}
		peer, inside := fmt.Sprintf("http://10.8.0.%d:2380", i), fmt.Sprintf("http://10.9.%d.2:2379", i)
		m.args = []string{
			"--name", m.name, "--data-dir", m.dir, "--initial-cluster-token", t.Name(),
			"--listen-client-urls", inside, "--advertise-client-urls", m.endpoint(),
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error",
		}
		if release != "3.4" {
			m.args = append(m.args, "--unsafe-no-fsync")
		}
		all = append(all, m.name+"="+peer)
		c.members = append(c.members, m)
		t.Cleanup(m.kill)
	}
	for _, m := range c.members {
		m.args = append(m.args, "--initial-cluster", strings.Join(all, ","))
		m.run(t)
	}
	c.whole()
	return c
}

// run starts a member, anew if it was killed.
func (m *member) run(t testing.TB) {
	t.Helper()
	m.log = &tail{}
	m.cmd = exec.Command(need.Program(t, "nsenter", "util-linux"), append([]string{"--net=" + m.ns.path(), m.bin}, m.args...)...)
	m.ended = launch(t, m.cmd, m.log)
}

func (m *member) signal(s os.Signal) {
	if err := m.cmd.Process.Signal(s); err != nil {
		panic(err) // it runs until the test says otherwise
	}
}

// config names all members. Calls give up soon, since the test's faults last.
func (c *cluster) config() Config {
	config := Config{Timeout: time.Second}
	for _, m := range c.members {
		config.Endpoints = append(config.Endpoints, m.endpoint())
	}
	return config
}

// status is what a member thinks: who it is, and who leads. Zeroes where it does not answer.
func (m *member) status() (me, leader string) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Post(m.endpoint()+"/v3/maintenance/status", "application/json", strings.NewReader("{}"))
	if err != nil {
		return "", ""
	}
	defer r.Body.Close()
	var s struct {
		Header struct {
			MemberID string `json:"member_id"`
		}
		Leader string
	}
	if json.NewDecoder(r.Body).Decode(&s) != nil || s.Leader == "0" {
		return "", ""
	}
	return s.Header.MemberID, s.Leader
}

// leader waits until all members but one (nil: all of them) agree on a leader
// among them, and returns it.
func (c *cluster) leader(but *member) *member {
	c.t.Helper()
	for ctx := patience(c.t); ctx.Err() == nil; {
		var found *member
		leaders := map[string]bool{}
		for _, m := range c.members {
			if m == but {
				continue
			}
			me, leader := m.status()
			leaders[leader] = true
			if me != "" && me == leader {
				found = m
			}
		}
		if len(leaders) == 1 && found != nil {
			return found
		}
		pause(ctx, 20*time.Millisecond)
	}
	for _, m := range c.members {
		me, leader := m.status()
		c.t.Logf("%s is %q and thinks that %q leads: %s", m.name, me, leader, m.log)
	}
	c.t.Fatal("the cluster has no leader")
	return nil
}

func (c *cluster) whole() { c.t.Helper(); c.leader(nil) }

// fault breaks a member; heal makes it whole again.
type fault struct {
	name      string
	harm, fix func(t testing.TB, m *member)
}

var faults = []fault{
	{"killed", func(_ testing.TB, m *member) { m.kill() }, func(t testing.TB, m *member) { m.run(t) }},
	{"paused", func(_ testing.TB, m *member) { m.signal(syscall.SIGSTOP) }, func(_ testing.TB, m *member) { m.signal(syscall.SIGCONT) }},
	{"cut off from its peers", func(t testing.TB, m *member) { m.ns.ip(t, "link set peers down") }, func(t testing.TB, m *member) { m.ns.ip(t, "link set peers up") }},
	{"cut off from everybody", func(t testing.TB, m *member) {
		m.ns.ip(t, "link set peers down", "link set clients down")
	}, func(t testing.TB, m *member) { m.ns.ip(t, "link set clients up", "link set peers up") }},
}

// strike breaks the leader, and returns once the others have another.
func (c *cluster) strike(f fault) *member {
	c.t.Helper()
	was := c.leader(nil)
	f.harm(c.t, was)
	is := c.leader(was)
	c.t.Logf("%s is %s, %s leads", was.name, f.name, is.name)
	return was
}

func (c *cluster) heal(f fault, m *member) {
	c.t.Helper()
	f.fix(c.t, m)
	c.whole()
}
