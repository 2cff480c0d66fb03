//go:build linux

// Package census counts what is on a host, as far as a cloud could have made it:
// before, while and after something runs there, so that nothing is left behind
// unseen.
package census

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kinds of things, in the order that they are shown.
const (
	Devices    = "network devices"
	Rules      = "firewall rules"
	Namespaces = "network namespaces"
	Processes  = "processes"
	Mounts     = "mounts"
	Groups     = "control groups"
	Files      = "files"
)

// Kinds are all that are counted.
var Kinds = []string{Devices, Rules, Namespaces, Processes, Mounts, Groups, Files}

// Forwarding is no kind: whether the host forwards, which sfd sets.
const Forwarding = "ip_forward"

// ForwardingFile is where the kernel has that.
const ForwardingFile = "/proc/sys/net/ipv4/ip_forward"

// Census is what is on the host, by kind.
type Census map[string][]string

// Host counts what belongs to nobody's directory: devices, firewall rules, and
// control groups of any sfd.
func Host() (Census, error) {
	c := Census{}
	hex := strings.Repeat("[0-9a-f]", 6) // of a daemon's ownership mark
	groups, err := filepath.Glob("/sys/fs/cgroup/*/sf-" + hex)
	if err != nil {
		return nil, err
	}
	unified, err := filepath.Glob("/sys/fs/cgroup/sf-" + hex)
	c[Groups] = append(groups, unified...)
	forward, readErr := os.ReadFile(ForwardingFile)
	c[Forwarding] = []string{strings.TrimSpace(string(forward))}
	return c, errors.Join(err, readErr, c.AddNetwork("", nil))
}

// add keeps each list sorted and without repetitions.
func (c Census) add(kind string, names ...string) {
	all := append(c[kind], names...)
	slices.Sort(all)
	c[kind] = slices.Compact(all)
}

const fileName = "before.json"

// Save remembers a census in a directory.
func (c Census) Save(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fileName), data, 0o600)
}

// Load reads what Save has left.
func Load(dir string) (c Census, err error) {
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

// Show prints three looks at the host side by side.
func Show(before, during, after Census) {
	fmt.Printf("%-20s %8s %8s %8s\n", "", "before", "running", "after")
	for _, kind := range Kinds {
		fmt.Printf("%-20s %8d %8d %8d\n", kind, len(before[kind]), len(during[kind]), len(after[kind]))
	}
}

// Left is what came to stay, of some kinds.
func Left(before, after Census, kinds ...string) (left []string) {
	for _, kind := range kinds {
		for _, name := range after[kind] {
			if !slices.Contains(before[kind], name) {
				left = append(left, kind+": "+name)
			}
		}
	}
	return left
}
