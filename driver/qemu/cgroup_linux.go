package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// cgroup is one hierarchy's group above those of the machines.
type cgroup struct {
	dir    string
	limits func(driver.Spec) map[string]string // by file
}

// findCgroups makes the group in every hierarchy that can limit something, and
// says what cannot be limited.
func findCgroups(name string) ([]cgroup, string) {
	switch {
	case name == "none":
		return nil, "no cgroups by configuration: what a machine's emulator uses is not limited"
	case os.Geteuid() != 0:
		return nil, "no cgroups, for we are not root: what a machine's emulator uses is not limited"
	case exists(cgroupRoot + "/cgroup.controllers"):
		return findV2(name)
	}
	return findV1(name)
}

func findV2(name string) ([]cgroup, string) {
	dir := filepath.Join(cgroupRoot, name)
	err := os.MkdirAll(dir, 0o755)
	for at := dir; err == nil && at != cgroupRoot; at = filepath.Dir(at) {
		err = enable(filepath.Dir(at))
	}
	if err == nil {
		err = enable(dir)
	}
	if err != nil {
		return nil, fmt.Sprintf("no cgroup %s (%v): what a machine's emulator uses is not limited", dir, err)
	}
	return []cgroup{{dir, limitsV2}}, ""
}

func enable(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0)
}

func limitsV2(s driver.Spec) map[string]string {
	return map[string]string{
		"memory.max": memoryLimit(s), "pids.max": threadLimit(s),
		"cpu.max": fmt.Sprintf("%d %d", cpuLimit(s), cpuPeriod),
	}
}

func findV1(name string) (groups []cgroup, why string) {
	var missing []string
	for _, c := range []struct {
		controller, file string
		limits           func(driver.Spec) map[string]string
	}{
		{"memory", "memory.limit_in_bytes", func(s driver.Spec) map[string]string {
			return map[string]string{"memory.limit_in_bytes": memoryLimit(s)}
		}},
		{"pids", "pids.max", func(s driver.Spec) map[string]string {
			return map[string]string{"pids.max": threadLimit(s)}
		}},
		{"cpu", "cpu.cfs_quota_us", func(s driver.Spec) map[string]string {
			return map[string]string{"cpu.cfs_quota_us": strconv.Itoa(cpuLimit(s))}
		}},
	} {
		dir := filepath.Join(cgroupRoot, c.controller, name)
		err := error(fs.ErrNotExist)
		if exists(filepath.Join(cgroupRoot, c.controller, "tasks")) {
			err = os.MkdirAll(dir, 0o755)
		}
		if err != nil || !exists(filepath.Join(dir, c.file)) {
			missing = append(missing, c.controller)
			continue
		}
		groups = append(groups, cgroup{dir, c.limits})
	}
	if len(missing) > 0 {
		why = fmt.Sprintf("no cgroup for %s: that is not limited for a machine's emulator", strings.Join(missing, ", "))
	}
	return groups, why
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
		for file, value := range g.limits(s) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
				return fmt.Errorf("cgroup: %w", err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
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
