package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

// A machine's limits are a safety net around QEMU, not the guest's size: that is
// kept by QEMU itself.
const (
	overheadMiB  = 768 // translated code, video memory, I/O buffers
	extraThreads = 256 // I/O workers, beside two a virtual CPU
	cpuPeriod    = 100000
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroup is one hierarchy's group above those of the machines, and the limits it
// can keep.
type cgroup struct {
	dir    string
	limits []limit
}

// limit is a file of a group and what to write there.
type limit struct {
	controller string
	file       string
	value      func(driver.Spec) string
}

var limitsV1 = []limit{
	{"memory", "memory.limit_in_bytes", memoryLimit},
	{"pids", "pids.max", threadLimit},
	{"cpu", "cpu.cfs_quota_us", func(s driver.Spec) string { return strconv.Itoa(cpuLimit(s)) }},
}

var limitsV2 = []limit{
	{"memory", "memory.max", memoryLimit},
	{"pids", "pids.max", threadLimit},
	{"cpu", "cpu.max", func(s driver.Spec) string { return fmt.Sprintf("%d %d", cpuLimit(s), cpuPeriod) }},
}

// findCgroups makes the group in every hierarchy that can limit something, and
// says what cannot be limited. root is where the hierarchies are mounted.
func findCgroups(root, name string) (groups []cgroup, why string) {
	var missing []string
	switch {
	case name == "none":
		return nil, "no cgroups by configuration: what a machine's emulator uses is not limited"
	case os.Geteuid() != 0:
		return nil, "no cgroups, for we are not root: what a machine's emulator uses is not limited"
	case exists(filepath.Join(root, "cgroup.controllers")):
		groups, missing = findV2(root, name)
	default:
		groups, missing = findV1(root, name)
	}
	if len(missing) > 0 {
		why = fmt.Sprintf("no cgroup for %s below %s: that is not limited for a machine's emulator", strings.Join(missing, ", "), root)
	}
	return groups, why
}

// findV2 asks for the controllers in every group down to ours.
func findV2(root, name string) (groups []cgroup, missing []string) {
	dir := filepath.Join(root, name)
	g := cgroup{dir: dir}
	made := os.MkdirAll(dir, 0o755)
	for _, l := range limitsV2 {
		for at := root; ; {
			os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+"+l.controller), 0o644)
			rest, _ := filepath.Rel(at, dir)
			if rest == "." {
				break
			}
			at = filepath.Join(at, strings.Split(rest, "/")[0])
		}
		on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if made != nil || err != nil || !slices.Contains(strings.Fields(strings.ReplaceAll(string(on), "+", " ")), l.controller) {
			missing = append(missing, l.controller)
			continue
		}
		g.limits = append(g.limits, l)
	}
	if len(g.limits) == 0 {
		return nil, missing
	}
	return []cgroup{g}, missing
}

// findV1 has a hierarchy per controller.
func findV1(root, name string) (groups []cgroup, missing []string) {
	for _, l := range limitsV1 {
		dir := filepath.Join(root, l.controller, name)
		if !exists(filepath.Join(root, l.controller, "tasks")) || os.MkdirAll(dir, 0o755) != nil || !exists(filepath.Join(dir, l.file)) {
			missing = append(missing, l.controller)
			continue
		}
		groups = append(groups, cgroup{dir, []limit{l}})
	}
	return groups, missing
}

func memoryLimit(s driver.Spec) string {
	mib := int64(s.MemoryMiB) + int64(s.MemoryMiB)/10 + int64(s.Video.MemoryKiB)/1024 + overheadMiB
	return strconv.FormatInt(mib<<20, 10)
}

func threadLimit(s driver.Spec) string { return strconv.Itoa(extraThreads + 2*s.CPUs) }

// cpuLimit grants one CPU beyond the machine's for what QEMU does for it.
func cpuLimit(s driver.Spec) int { return (s.CPUs + 1) * cpuPeriod }

// confine puts a process into groups of its machine's own.
func (h *Hypervisor) confine(id string, pid int, s driver.Spec) error {
	for _, g := range h.probed.cgroups {
		dir := filepath.Join(g.dir, id)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cgroup: %w", err)
		}
		for _, l := range g.limits {
			if err := os.WriteFile(filepath.Join(dir, l.file), []byte(l.value(s)), 0o644); err != nil {
				return fmt.Errorf("cgroup: %w", err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return nil
}

// cleanup removes what a process leaves behind: its groups and its sockets. A
// group may be busy for a moment after a process's end; the next end or start of
// the machine then finds it.
func (h *Hypervisor) cleanup(id string) {
	for _, name := range []string{"qmp", "serial"} {
		os.Remove(h.reg.path(id, name))
	}
	if h.cfg.Cgroup == "none" || os.Geteuid() != 0 {
		return
	}
	for _, controller := range []string{"", "memory", "pids", "cpu"} {
		os.Remove(filepath.Join(cgroupRoot, controller, h.cfg.Cgroup, id))
	}
}
