package qemu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// The hierarchies here are plain directories: that the kernel's obey is for
// TestCgroup to see on the host it has.
func TestFindCgroups(t *testing.T) {
	need.Root(t)
	root := func(files ...string) string {
		dir := t.TempDir()
		for _, f := range files {
			os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755)
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	v1 := root("memory/tasks", "memory/a/b/memory.limit_in_bytes", "pids/tasks", "pids/a/b/pids.max", "cpu/tasks")
	groups, why := findCgroups(v1, "a/b")
	if len(groups) != 2 || groups[0].dir != filepath.Join(v1, "memory/a/b") || !strings.Contains(why, "no cgroup for cpu below") {
		t.Errorf("v1: %+v, %q", groups, why)
	}

	// A file remembers only the last controller written, so each counts as there
	// when it is looked at.
	v2 := root("cgroup.controllers", "a/b/cgroup.subtree_control")
	groups, why = findCgroups(v2, "a/b")
	if len(groups) != 1 || len(groups[0].limits) != 3 || why != "" {
		t.Errorf("v2: %+v, %q", groups, why)
	}
	for _, dir := range []string{"", "a", "a/b"} {
		if b, _ := os.ReadFile(filepath.Join(v2, dir, "cgroup.subtree_control")); string(b) != "+cpu" {
			t.Errorf("v2: %q was asked for %q last", dir, b)
		}
	}
	h := &Hypervisor{probed: &probe{cgroups: groups}}
	if err := h.confine("x", 42, driver.Spec{CPUs: 2, MemoryMiB: 1000, Video: driver.Video{MemoryKiB: 16384}}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.max": "1975517184", "pids.max": "260", "cpu.max": "300000 100000", "cgroup.procs": "42",
	} {
		if b, _ := os.ReadFile(filepath.Join(v2, "a/b/x", file)); string(b) != want {
			t.Errorf("%s is %q, want %q", file, b, want)
		}
	}

	for name, groups := range map[string]string{"none": "by configuration", "a": "memory, pids, cpu"} {
		if got, why := findCgroups(t.TempDir(), name); got != nil || !strings.Contains(why, groups) {
			t.Errorf("%s: %+v, %q", name, got, why)
		}
	}
}

func TestSlicesOfLimits(t *testing.T) {
	names := func(all []limit) (n []string) {
		for _, l := range all {
			n = append(n, l.controller)
		}
		return n
	}
	if !slices.Equal(names(limitsV1), names(limitsV2)) {
		t.Error("the two versions limit different things")
	}
}
