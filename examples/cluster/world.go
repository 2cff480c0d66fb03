//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// free makes sure that nobody else has the names that the cluster wants.
func (p *plan) free() error {
	for _, name := range p.namespaces() {
		path := filepath.Join(namesDir, name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("there is a network namespace %s already, and it is not this cluster's: choose other names with -prefix, "+
				"or remove it (ip netns delete %s)", name, name)
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// wiring is what `ip` is told to make the namespaces, the underlay between them,
// and the world beyond it. No device is ever in the host's own namespace.
func (p *plan) wiring() (lines []string) {
	w := p.world()
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("netns add %s", w)
	add("-n %s link set lo up", w)
	add("-n %s address add %s/32 dev lo", w, beyond)
	add("-n %s link add underlay type bridge", w)
	add("-n %s address add %s/24 dev underlay", w, gateway)
	add("-n %s link set underlay up", w)
	add("-n %s route add %s via %s", w, floating, edge)
	for _, n := range p.Nodes {
		add("netns add %s", n.Name)
		add("-n %s link set lo up", n.Name)
		add("-n %s link add %s type veth peer name eth0 netns %s", w, n.Name, n.Name)
		add("-n %s link set %s master underlay up", w, n.Name)
		add("-n %s address add %s/24 dev eth0", n.Name, n.Address)
		add("-n %s link set eth0 up", n.Name)
		add("-n %s route add default via %s", n.Name, gateway)
	}
	return lines
}

func (p *plan) wire(ctx context.Context) error {
	for _, line := range p.wiring() {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
