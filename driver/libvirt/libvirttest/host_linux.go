// Package libvirttest runs a libvirtd of a test's own, see package libvirtd.
package libvirttest

import (
	"os"
	"testing"

	"github.com/shakenfist/cloud/driver/libvirt/libvirtd"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Main is to be called first in TestMain of a package that uses Start.
func Main() { libvirtd.Main() }

// Host is a host of virtual machines that ends with a test. Its directory is gone
// then.
type Host struct{ *libvirtd.Host }

// Start starts a host. Its end is t's. TestMain must call Main first.
func Start(t testing.TB) *Host {
	t.Helper()
	need.Root(t)
	need.Program(t, "libvirtd", "libvirt-daemon")
	need.Program(t, "virtlogd", "libvirt-daemon")
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	if err := libvirtd.Missing(); err != nil {
		need.Missing(t, "%v (`make deps` does)", err)
	}
	dir, err := os.MkdirTemp("", "sfvirt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	host, err := libvirtd.Start(t.Context(), libvirtd.Config{Dir: dir})
	if err != nil {
		(&Host{&libvirtd.Host{Dir: dir}}).showLogs(t)
		t.Fatal(err)
	}
	h := &Host{host}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			h.showLogs(t)
		}
	})
	return h
}

// Kill kills libvirtd, as the kernel does when memory is short. Machines run on.
func (h *Host) Kill(t testing.TB) {
	t.Helper()
	if err := h.Host.Kill(); err != nil {
		t.Fatal(err)
	}
}

// Launch starts libvirtd and waits until it answers.
func (h *Host) Launch(t testing.TB) {
	t.Helper()
	if err := h.Host.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (h *Host) showLogs(t testing.TB) {
	for _, path := range h.Logs() {
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 {
			t.Logf("%s ends with:\n%s", path, b[max(0, len(b)-3000):])
		}
	}
}
