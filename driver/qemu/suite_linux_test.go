package qemu_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// TestMain leaves no control groups of the tests' machines behind.
func TestMain(m *testing.M) {
	status := m.Run()
	for _, pattern := range []string{"/sys/fs/cgroup/sf-*test", "/sys/fs/cgroup/*/sf-*test"} {
		groups, _ := filepath.Glob(pattern) // a good pattern
		for _, group := range groups {
			os.Remove(group) // there is none where nothing ran, and none goes that has machines
		}
	}
	os.Exit(status)
}

// config has short limits, so that a hung emulator does not cost the suite much.
func config(dir string) qemu.Config {
	return qemu.Config{
		Dir: filepath.Join(dir, "registry"), Cgroup: "sf-drivertest",
		Timeout: 3 * time.Second, Every: 100 * time.Millisecond,
	}
}

func TestSuite(t *testing.T) {
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	pc.Suite(t, func(t *testing.T) string { return t.TempDir() }, func(t *testing.T, dir string) driver.Hypervisor {
		t.Helper()
		h, err := qemu.New(t.Context(), config(dir))
		if err != nil {
			t.Fatal(err)
		}
		return h
	})
}
