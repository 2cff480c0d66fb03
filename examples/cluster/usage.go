//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// usageName is the file that says how to use the cluster, aliasesName what a shell
// reads for it.
const (
	usageName   = "README"
	aliasesName = "aliases"
)

const defaultDir = "/srv/sf-cluster"

// command is this program as somebody would call it for this cluster.
func (p *plan) command() string {
	self, err := os.Executable()
	if err != nil {
		self = "cluster"
	}
	if p.Dir != defaultDir {
		self += " -dir " + p.Dir
	}
	return self
}

// ending is how to end the cluster.
func (p *plan) ending() string {
	if p.Dir == defaultDir {
		return "`make cluster-down`"
	}
	return "`" + p.command() + " down`"
}

// aliases make each node's name its sf-client.
func (p *plan) aliases() string {
	var b strings.Builder
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "alias %s='HOME=%s %s/sf-client'\n", n.Name, n.Dir, p.Bin)
	}
	return b.String()
}

// usage says how to use the cluster.
func (p *plan) usage() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	first, last := p.Nodes[0], p.Nodes[len(p.Nodes)-1]
	say("As root, in a shell:\n")
	say("  . %s       # makes a node's name its sf-client; its key is in %s", p.path(aliasesName), first.path(".shakenfist"))
	say("  %s node list", first.Name)
	say("  %s network create 10.0.0.0/24 lan", first.Name)
	for k, n := range p.Nodes {
		say("  %s instance create on-%s 1 256 -d 1@%s -n lan@10.0.0.1%d -p %s", first.Name, n.Name, imageURL, k+1, n.Name)
	}
	say("  %s instance wait on-%s --for login", last.Name, last.Name)
	say("  %s instance console on-%s       # Enter logs in; ping 10.0.0.11, ping %s; Ctrl-] leaves\n", last.Name, last.Name, beyond)
	say("  %s interface float on-%s/0         # on-%s gets a floating address; instance show tells which", first.Name, last.Name, last.Name)
	say("  ip netns exec %s ping ADDRESS      # reach it from the world (Debian: iputils-ping)", p.world())
	say("  ping on-%s, ping %s     # names, from a guest: of others, and of the world\n", first.Name, worldName)
	say("The nodes. Each is also the name of a network namespace:\n")
	for _, n := range p.Nodes {
		say("  %-8s %-14s http://127.0.0.1:%d    %s", n.Name, n.Address, n.Port, n.Dir)
	}
	say("\n  ip netns exec %s bash              # be on one", last.Name)
	say("  tail -f %s", last.path("sfd.log"))
	if p.Hypervisor == "libvirt" {
		say("  virsh -c 'qemu+unix:///system?socket=%s' list    # from Debian's libvirt-clients", last.path("libvirt/run/libvirt-sock"))
	}
	say("\nDo harm, and mend it:\n")
	say("  ip -n %s link set %s down       # nobody hears it; then: up", p.world(), last.Name)
	say("  kill -9 $(cat %s)      # its sfd crashes", last.path("sfd.pid"))
	if p.Hypervisor == "libvirt" {
		say("  kill -9 $(cat %s)      # its libvirtd crashes", last.path("libvirt/run/libvirtd.pid"))
	}
	say("  ip netns pids %s | xargs kill -9   # its power is cut; its instances count as crashed", last.Name)
	say("  %s start %s     # what of it does not run is started", p.command(), last.Name)
	say("\nThe end: %s", strings.Trim(p.ending(), "`"))
	return b.String()
}

func (p *plan) writeUsage() error {
	if err := os.WriteFile(p.path(aliasesName), []byte(p.aliases()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(p.path(usageName), []byte(p.usage()), 0o644)
}
