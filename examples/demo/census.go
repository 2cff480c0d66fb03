//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
)

// census is what is on the host, by kind, as far as a cloud could have made it.
type census map[string][]string

// kinds in the order that they are shown.
var kinds = []string{"network devices", "firewall rules", "network namespaces", "processes", "mounts", "control groups", "files"}

// takeCensus counts. Processes, mounts and files are those that belong to the
// demonstration in dir; there are none yet where dir is empty.
func takeCensus(dir string) (census, error) {
	c := census{}
	devices, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		c["network devices"] = append(c["network devices"], d.Name)
	}
	hex := strings.Repeat("[0-9a-f]", 6) // of a daemon's ownership mark
	groups, err := filepath.Glob("/sys/fs/cgroup/*/sf-" + hex)
	if err != nil {
		return nil, err
	}
	unified, err := filepath.Glob("/sys/fs/cgroup/sf-" + hex)
	c["control groups"] = append(groups, unified...)
	forward, readErr := os.ReadFile(forwarding)
	c["ip_forward"] = []string{strings.TrimSpace(string(forward))}
	errs := []error{err, readErr, c.addRules()}
	if dir != "" {
		errs = append(errs, c.addProcesses(dir), c.addMounts(dir), c.addFiles(dir))
	}
	for _, list := range c {
		slices.Sort(list)
	}
	return c, errors.Join(errs...)
}

// addRules lists every rule of the host's firewall.
func (c census) addRules() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("list the firewall: %w", err)
	}
	for _, chain := range chains {
		rules, err := conn.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("list the firewall: %w", err)
		}
		for _, r := range rules {
			name := fmt.Sprintf("%s/%s#%d", chain.Table.Name, chain.Name, r.Handle)
			c["firewall rules"] = append(c["firewall rules"], name)
		}
	}
	return nil
}

// addProcesses lists the processes whose arguments, or whose open files, are in dir.
func (c census) addProcesses(dir string) error {
	found, err := filepath.Glob("/proc/[0-9]*")
	for _, p := range found {
		args, err := os.ReadFile(p + "/cmdline")
		if err != nil || filepath.Base(p) == strconv.Itoa(os.Getpid()) {
			continue // it ended meanwhile, or is us
		}
		if !strings.Contains(string(args), dir) && !opens(p, dir) {
			continue
		}
		program, _, _ := strings.Cut(string(args), "\x00")
		c["processes"] = append(c["processes"], filepath.Base(program)+"["+filepath.Base(p)+"]")
	}
	return err
}

func opens(process, dir string) bool {
	links, err := filepath.Glob(process + "/fd/*")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && strings.HasPrefix(target, dir+"/data/")
	})
}

func (c census) addMounts(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		c["mounts"] = append(c["mounts"], fields[4])
		if name, ok := strings.CutPrefix(fields[4], dir+"/netns/"); ok {
			c["network namespaces"] = append(c["network namespaces"], name)
		}
	}
	for kind := range c {
		c[kind] = slices.Compact(slices.Sorted(slices.Values(c[kind])))
	}
	return nil
}

func (c census) addFiles(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			c["files"] = append(c["files"], path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const censusFile = "before.json"

func (c census) save(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, censusFile), data, 0o600)
}

func (c census) load(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, censusFile))
	if err != nil {
		return fmt.Errorf("%s is no demonstration that was kept: %w", dir, err)
	}
	return json.Unmarshal(data, &c)
}

// compare prints three looks at the host and returns what came to stay.
func compare(before, during, after census) (left []string) {
	fmt.Printf("%-20s %8s %8s %8s\n", "", "before", "running", "after")
	for _, kind := range kinds {
		fmt.Printf("%-20s %8d %8d %8d\n", kind, len(before[kind]), len(during[kind]), len(after[kind]))
	}
	for _, kind := range kinds {
		for _, name := range after[kind] {
			if !slices.Contains(before[kind], name) {
				left = append(left, kind+": "+name)
			}
		}
	}
	return left
}
