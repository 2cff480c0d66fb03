package qemu

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// A driver that lacks file descriptors to find out whether a machine runs does not
// take it for crashed: its disks would get a second QEMU.
func TestAdoptForWantOfFiles(t *testing.T) {
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := Config{Dir: filepath.Join(dir, "registry"), Cgroup: "none"}
	open := func() *Hypervisor {
		h, err := New(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := open()
	spec := pc.WithDisks(t, pc.Spec(dir, 1))
	if err := h.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	h.Close()
	for left := range 4 {
		if h, err := withFiles(t, left, func() (*Hypervisor, error) { return New(ctx, cfg) }); err == nil {
			h.Close()
		}
	}
	h = open()
	defer h.Close()
	st, err := h.Inspect(ctx, spec.ID)
	if err != nil || st.State != driver.Running {
		t.Errorf("the machine is %+v, %v", st, err)
	}
	if err := h.Destroy(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
}

// withFiles runs f with so many file descriptors left to this process.
func withFiles(t *testing.T, left int, f func() (*Hypervisor, error)) (*Hypervisor, error) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: 64, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	for _, f := range taken[:left] {
		f.Close()
	}
	defer func() {
		for _, f := range taken {
			f.Close()
		}
	}()
	return f()
}
