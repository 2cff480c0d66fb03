//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// options are what a cluster is asked to be.
type options struct {
	dir, prefix, hypervisor, bin string
	nodes                        int
	more                         []string // options of every sfd
}

// Addresses, which exist in the cluster's namespaces only. They are for
// documentation and nobody's.
const (
	underlay = "203.0.113."    // with a node's number
	gateway  = "203.0.113.254" // the world's, which serves the image too
	beyond   = "198.51.100.7"  // a host of the world
	floating = "192.0.2.0/24"  // floating addresses, which the world sends to
	edge     = "203.0.113.253" // which one of the nodes has

	// The world's DNS server, at the gateway, knows one name.
	worldZone = "beyond.example"
	worldHost = "host"
	worldName = worldHost + "." + worldZone
	imageURL  = "http://" + gateway + "/guest.qcow2"
)

// plan is everything about a cluster that is decided before it is made. It lies in
// the cluster's directory, for whoever is to end it.
type plan struct {
	Dir, Prefix, Hypervisor, Bin string
	Nodes                        []node
	More                         []string
	MountPoints                  []string // of libvirt's, that this host did not have
	NamesDir                     bool     // whether this host had none

	marks []string // ownership marks that its sfds were seen to have
}

// node is a machine of the cluster, and its network namespace.
type node struct {
	Name, Address string
	Port          int    // of its API: on its own loopback, and relayed on the host's
	Dir           string // what is its own
	UIDBase       int
}

func newPlan(o options, port func(preferred int) (int, error)) (*plan, error) {
	switch {
	case o.nodes < 1 || o.nodes > 9:
		return nil, fmt.Errorf("-nodes %d: want 1 to 9", o.nodes)
	case o.hypervisor != "qemu" && o.hypervisor != "libvirt":
		return nil, fmt.Errorf("-hypervisor %q: want qemu or libvirt", o.hypervisor)
	case !regexp.MustCompile(`^[a-z][a-z0-9-]{0,9}$`).MatchString(o.prefix):
		return nil, fmt.Errorf("-prefix %q: want at most ten small letters, digits and dashes, a letter first", o.prefix)
	case len(o.dir) > 60:
		return nil, fmt.Errorf("-dir %s: want at most 60 characters: sockets are below it", o.dir)
	case strings.ContainsAny(o.dir, " \t\n':,"):
		return nil, fmt.Errorf("-dir %q: want a path without spaces, quotes, colons and commas", o.dir)
	}
	p := &plan{Dir: o.dir, Prefix: o.prefix, Hypervisor: o.hypervisor, Bin: o.bin, More: o.more}
	for k := 1; k <= o.nodes; k++ {
		port, err := port(13100 + k)
		if err != nil {
			return nil, err
		}
		name := o.prefix + strconv.Itoa(k)
		p.Nodes = append(p.Nodes, node{
			Name: name, Address: underlay + strconv.Itoa(k), Port: port, Dir: filepath.Join(o.dir, name), UIDBase: 1_000_000 + 65536*k,
		})
	}
	return p, nil
}

// world is the namespace of the underlay and of what is beyond it.
func (p *plan) world() string { return p.Prefix + "world" }

// namespaces are all by name.
func (p *plan) namespaces() []string {
	names := []string{p.world()}
	for _, n := range p.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// members are the nodes that have an etcd: three, which can lose one, where there
// are three.
func (p *plan) members() []node {
	if len(p.Nodes) < 3 {
		return p.Nodes[:1]
	}
	return p.Nodes[:3]
}

func (p *plan) hasEtcd(n node) bool {
	for _, m := range p.members() {
		if m.Name == n.Name {
			return true
		}
	}
	return false
}

func (p *plan) node(name string) (node, error) {
	var names []string
	for _, n := range p.Nodes {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return node{}, fmt.Errorf("there is no node %q: want one of %s", name, strings.Join(names, ", "))
}

// endpoints names etcd's members with a scheme and a port.
func (p *plan) endpoints(port int) (urls []string) {
	for _, m := range p.members() {
		urls = append(urls, fmt.Sprintf("http://%s:%d", m.Address, port))
	}
	return urls
}

// etcdArgs are the options of a node's etcd.
func (p *plan) etcdArgs(n node) []string {
	var all []string
	for _, m := range p.members() {
		all = append(all, fmt.Sprintf("%s=http://%s:2380", m.Name, m.Address))
	}
	client, peer := "http://"+n.Address+":2379", "http://"+n.Address+":2380"
	return []string{
		"--name", n.Name, "--data-dir", n.path("etcd"), "--initial-cluster", strings.Join(all, ","),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--log-level", "warn",
	}
}

// sfdArgs are the options of a node's sfd.
func (p *plan) sfdArgs(n node) []string {
	args := []string{
		"--node-name", n.Name, "--node-ip", n.Address, "--etcd-endpoints", strings.Join(p.endpoints(2379), ","),
		"--data-dir", n.path("data"), "--client-file", n.path(".shakenfist"), "--netns-dir", n.path("netns"),
		"--api-port", strconv.Itoa(n.Port), "--uid-base", strconv.Itoa(n.UIDBase), "--dns-server", gateway,
		"--floating-network", floating, "--floating-mode", "routed", "--edge-address", edge + "/24", "--node-egress-nic", "eth0",
	}
	if p.Hypervisor == "libvirt" {
		args = append(args, "--hypervisor", "libvirt", "--libvirt-socket", n.path("libvirt/run/libvirt-sock"))
	}
	return append(args, p.More...)
}

func (n node) path(name string) string { return filepath.Join(n.Dir, name) }

func (p *plan) path(name string) string { return filepath.Join(p.Dir, name) }

const planName = "cluster.json"

func (p *plan) save() error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	temporary := p.path(planName + ".new")
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, p.path(planName))
}

// loadPlan reads the plan of a cluster that is, or was to be, in a directory.
func loadPlan(dir string) (*plan, error) {
	data, err := os.ReadFile(filepath.Join(dir, planName))
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, planName), err)
	}
	if p.Dir != dir || len(p.Nodes) == 0 || p.Prefix == "" {
		return nil, errors.New(filepath.Join(dir, planName) + " is not the plan of a cluster in that directory")
	}
	return p, nil
}
