//go:build linux

package main

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func portOf(preferred int) (int, error) { return preferred, nil }

func TestBadOptions(t *testing.T) {
	good := options{dir: "/srv/c", prefix: "sf-", hypervisor: "qemu", nodes: 3}
	if _, err := newPlan(good, portOf); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*options){
		"-nodes 0: want 1 to 9":     func(o *options) { o.nodes = 0 },
		"-nodes 10: want 1 to 9":    func(o *options) { o.nodes = 10 },
		`-hypervisor "kvm": want`:   func(o *options) { o.hypervisor = "kvm" },
		`-prefix "Sf": want`:        func(o *options) { o.prefix = "Sf" },
		`-prefix "": want`:          func(o *options) { o.prefix = "" },
		"want at most 60 character": func(o *options) { o.dir = "/" + strings.Repeat("x", 60) },
		`-dir "/a b": want a path`:  func(o *options) { o.dir = "/a b" },
	} {
		o := good
		spoil(&o)
		if _, err := newPlan(o, portOf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// An etcd of two members is worth less than one of one.
func TestMembers(t *testing.T) {
	for nodes, want := range map[int]int{1: 1, 2: 1, 3: 3, 9: 3} {
		p, err := newPlan(options{dir: "/srv/c", prefix: "sf-", hypervisor: "qemu", nodes: nodes}, portOf)
		if err != nil {
			t.Fatal(err)
		}
		if have := len(p.members()); have != want {
			t.Errorf("%d nodes have %d members, want %d", nodes, have, want)
		}
	}
}

// Nothing is made in the host's own namespace, and no address is anybody's.
func TestWiring(t *testing.T) {
	p, err := newPlan(options{dir: "/srv/c", prefix: "sf-", hypervisor: "qemu", nodes: 9}, portOf)
	if err != nil {
		t.Fatal(err)
	}
	documentation := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24")}
	for _, line := range p.wiring() {
		if !strings.HasPrefix(line, "netns add sf-") && !strings.HasPrefix(line, "-n sf-") {
			t.Errorf("in the host's namespace: ip %s", line)
		}
		for _, text := range regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`).FindAllString(line, -1) {
			if a := netip.MustParseAddr(text); !slices.ContainsFunc(documentation, func(d netip.Prefix) bool { return d.Contains(a) }) {
				t.Errorf("%s is somebody's: ip %s", a, line)
			}
		}
	}
}

// A directory that is somebody's is neither used nor removed.
func TestStrangeDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := down(t.Context(), dir+"/none"); err != nil {
		t.Error(err)
	}
	if err := vacant(dir); err == nil || !strings.Contains(err.Error(), "what is left of a cluster") {
		t.Errorf("an empty directory: %v", err)
	}
	write(t, dir+"/precious", "text")
	if err := vacant(dir); err == nil || !strings.Contains(err.Error(), "is no cluster") {
		t.Errorf("up: %v", err)
	}
	if err := down(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("down: %v", err)
	}
	write(t, dir+"/"+planName, `{"Dir": "/elsewhere", "Prefix": "sf-", "Nodes": [{}]}`)
	if err := down(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "not the plan") {
		t.Errorf("down by another's plan: %v", err)
	}
	exists(t, dir+"/precious")
}
