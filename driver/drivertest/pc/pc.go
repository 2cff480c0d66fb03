// Package pc is what drivers whose machines are PCs of QEMU's share in their tests:
// machines with and without something to boot, their disks, and rules about the
// hardware that a guest sees.
package pc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Banner is what a machine's BIOS prints on the serial port.
const Banner = "SeaBIOS"

// Prompt is the end of what the guest of Guest prints.
const Prompt = " login: "

// Spec is a machine in a host's directory that finds nothing to boot and stays in its
// BIOS. Its name has what has a meaning in command lines and in XML.
func Spec(dir string, n int) driver.Spec {
	id := fmt.Sprintf("5f000000-0000-4000-8000-%012d", n)
	return driver.Spec{
		ID: id, Name: fmt.Sprintf("machine, <%d>", n), CPUs: 1, MemoryMiB: 32,
		Dir: filepath.Join(dir, "instances", id), Video: driver.Video{Model: "none"},
		Disks: []driver.Disk{{Device: "vda", Path: filepath.Join(dir, fmt.Sprintf("disk%d", n)), Format: "raw", Bus: "virtio"}},
	}
}

// WithDisks makes the files of a machine's disks that are not there yet, with nothing
// to boot on them: half of each is zeroes.
func WithDisks(t testing.TB, s driver.Spec) driver.Spec {
	t.Helper()
	for _, d := range s.Disks {
		if _, err := os.Stat(d.Path); err == nil {
			continue
		}
		b := make([]byte, 1<<20)
		copy(b, bytes.Repeat([]byte("not a boot sector\n"), len(b)/2/18))
		if err := os.WriteFile(d.Path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Guest is a machine with an operating system, on an overlay of its image.
func Guest(t testing.TB, dir string, n int) driver.Spec {
	t.Helper()
	image := guest.Image(t)
	s := Spec(dir, n)
	s.MemoryMiB = 128
	s.Disks[0] = driver.Disk{Device: "vda", Path: filepath.Join(dir, fmt.Sprintf("guest%d.qcow2", n)), Format: "qcow2", Bus: "virtio"}
	if _, err := os.Stat(s.Disks[0].Path); err != nil {
		Image(t, "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", s.Disks[0].Path)
	}
	return s
}

// Image runs qemu-img.
func Image(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(need.Program(t, "qemu-img", "qemu-utils"), args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v: %s", args, err, out)
	}
}

// Content is the raw content of an image, checked.
func Content(t *testing.T, path, format string) []byte {
	t.Helper()
	if format == "qcow2" {
		Image(t, "check", "-U", "-f", format, path)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	Image(t, "convert", "-U", "-f", format, "-O", "raw", path, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Eventually waits for what no event tells.
func Eventually(ctx context.Context, t testing.TB, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
