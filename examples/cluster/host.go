//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shakenfist/cloud/examples/internal/census"
	"github.com/shakenfist/cloud/netfab"
)

// census counts the host and what of it is the cluster's.
func (p *plan) census() (census.Census, error) {
	c, err := census.Host()
	if err != nil {
		return nil, err
	}
	c[census.Groups] = p.groups()
	ours, err := p.ours()
	errs := []error{err, c.AddProcesses(ours), c.AddMounts(p.Dir), c.AddFiles(p.Dir)}
	for _, path := range p.names() {
		ns, err := os.Open(path)
		if err != nil {
			continue // there is none, or it ended
		}
		name := filepath.Base(path)
		c[census.Namespaces] = append(c[census.Namespaces], name)
		errs = append(errs, c.AddNetwork(name, ns), ns.Close())
	}
	for kind, list := range c {
		slices.Sort(list)
		c[kind] = slices.Compact(list)
	}
	return c, errors.Join(errs...)
}

// names are where the cluster's namespaces may have their names: the nodes' own, and
// those of the networks on them.
func (p *plan) names() (paths []string) {
	for _, name := range p.namespaces() {
		paths = append(paths, filepath.Join(namesDir, name))
	}
	inner, _ := filepath.Glob(filepath.Join(p.Dir, "*", "netns", "*")) // the pattern is good
	return append(paths, inner...)
}

// ours tells the cluster's processes: whatever is in its namespaces, shells too,
// whatever has its records or disks open, and who looks after it.
func (p *plan) ours() (func(proc string) bool, error) {
	namespaces := map[identity]bool{}
	for _, path := range p.names() {
		if id, err := identify(path); err == nil {
			namespaces[id] = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	host, err := identify("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	delete(namespaces, host) // whoever may have given it such a name
	files := []string{p.path(lockName)}
	for _, n := range p.Nodes {
		files = append(files, n.path("data/"), n.path("etcd/"), n.path("libvirt/"))
	}
	return func(proc string) bool {
		id, err := identify(proc + "/ns/net")
		return err == nil && namespaces[id] || census.Opens(proc, files...)
	}, nil
}

// identity tells files apart, and namespaces.
type identity struct{ device, inode uint64 }

func identify(path string) (identity, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return identity{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{uint64(st.Dev), st.Ino}, nil
}

// patience is how long processes may take to end.
const patience = 20 * time.Second

// endProcesses ends all processes of the cluster, and waits until they are gone. The
// one that looks after it takes its children along, and waits for them.
func (p *plan) endProcesses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ours, err := p.ours()
	if err != nil {
		return err
	}
	for _, pid := range p.holders() {
		how := syscall.SIGKILL // a start under way, which would begin to clean up as well
		if text, err := os.ReadFile(p.path("supervisor.pid")); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(pid) {
			how = syscall.SIGTERM
		}
		syscall.Kill(pid, how) // or it ended
		if err := ended(ctx, pid); err != nil {
			return err
		}
	}
	for {
		pids := processes(ours)
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		for _, pid := range pids {
			if err := ended(ctx, pid); err != nil {
				return err
			}
		}
		if len(pids) == 0 {
			return nil
		}
	}
}

// holders are the processes that have the cluster's lock: who looks after it last.
func (p *plan) holders() []int {
	return processes(func(proc string) bool { return census.Opens(proc, p.path(lockName)) })
}

// processes are all but this one of which something is true.
func processes(are func(proc string) bool) (pids []int) {
	found, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, proc := range found {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err == nil && pid != os.Getpid() && are(proc) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	slices.Reverse(pids)
	return pids
}

// ended waits until nothing of a process is left, not even to be reaped.
func ended(ctx context.Context, pid int) error {
	for {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
		}
	}
}

// groups are the control groups of the nodes' machines that there are, by the
// ownership marks that the nodes' sfds have remembered.
func (p *plan) groups() (paths []string) {
	for _, n := range p.Nodes {
		var is struct{ Cloud, Node string }
		text, err := os.ReadFile(n.path("data/identity.json"))
		if err == nil && json.Unmarshal(text, &is) == nil {
			p.marks = append(p.marks, "sf-"+netfab.ShortTag(is.Cloud+"/"+is.Node))
		}
	}
	slices.Sort(p.marks)
	p.marks = slices.Compact(p.marks)
	for _, name := range p.marks {
		for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
			found, _ := filepath.Glob(pattern) // the pattern is good
			paths = append(paths, found...)
		}
	}
	return paths
}

// removeGroups removes control groups, with those in them.
func removeGroups(paths []string) error {
	var errs []error
	for _, path := range paths {
		inner, _ := filepath.Glob(path + "/*/cgroup.procs") // the pattern is good
		for _, procs := range inner {
			errs = append(errs, gone(os.Remove(filepath.Dir(procs))))
		}
		errs = append(errs, gone(os.Remove(path)))
	}
	return errors.Join(errs...)
}
