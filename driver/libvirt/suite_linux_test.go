package libvirt_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

func TestMain(m *testing.M) {
	libvirttest.Main()
	os.Exit(m.Run())
}

// hosts remembers the directory that each driver under test has for its host.
// All share one libvirtd, and each starts without machines.
type hosts struct {
	virt *libvirttest.Host

	mu  sync.Mutex
	dir map[driver.Hypervisor]string
}

func (s *hosts) of(h driver.Hypervisor) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dir[h]
}

func (s *hosts) open(t *testing.T, dir string) driver.Hypervisor {
	t.Helper()
	h, err := libvirt.New(t.Context(), config(s.virt, dir))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dir[h] = dir
	return h
}

// config has short limits, so that a hung emulator does not cost the suite much.
func config(virt *libvirttest.Host, dir string) libvirt.Config {
	return libvirt.Config{
		Dir: filepath.Join(dir, "registry"), Socket: virt.Socket,
		Timeout: 5 * time.Second, Every: 100 * time.Millisecond,
	}
}

// newDir makes a directory that QEMUs may enter.
func newDir(t *testing.T, virt *libvirttest.Host) string {
	t.Helper()
	dir, err := os.MkdirTemp(virt.Dir, "host")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// spec is a machine that finds nothing to boot and stays in its BIOS, which
// prints on the serial port.
func spec(dir string, n int) driver.Spec {
	id := fmt.Sprintf("5f000000-0000-4000-8000-%012d", n)
	return driver.Spec{
		ID: id, Name: fmt.Sprintf("machine, <%d>", n), CPUs: 1, MemoryMiB: 32,
		Dir: filepath.Join(dir, "instances", id), Video: driver.Video{Model: "none"},
		Disks: []driver.Disk{{Device: "vda", Path: filepath.Join(dir, fmt.Sprintf("disk%d", n)), Format: "raw", Bus: "virtio"}},
	}
}

// withDisks makes the files of a spec's disks.
func withDisks(t *testing.T, s driver.Spec) driver.Spec {
	t.Helper()
	for _, d := range s.Disks {
		if _, err := os.Stat(d.Path); err == nil {
			continue
		}
		if err := os.WriteFile(d.Path, bytes.Repeat([]byte("not a boot sector\n"), 1<<16), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// content is the raw content of an image, checked.
func content(t *testing.T, path, format string) []byte {
	t.Helper()
	img := need.Program(t, "qemu-img", "qemu-utils")
	if format == "qcow2" {
		if out, err := exec.Command(img, "check", "-U", "-f", format, path).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", path, err, out)
		}
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if out, err := exec.Command(img, "convert", "-U", "-f", format, "-O", "raw", path, raw).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", path, err, out)
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSuite(t *testing.T) {
	all := &hosts{virt: libvirttest.Start(t), dir: map[driver.Hypervisor]string{}}
	signal := func(sig syscall.Signal) func(*testing.T, driver.Hypervisor, driver.Status) {
		return func(t *testing.T, _ driver.Hypervisor, s driver.Status) {
			t.Helper()
			if s.PID == 0 {
				t.Fatalf("no process: %+v", s)
			}
			if err := syscall.Kill(s.PID, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	drivertest.Run(t, drivertest.Config{
		New:    func(t *testing.T) driver.Hypervisor { return all.open(t, newDir(t, all.virt)) },
		Reopen: func(t *testing.T, h driver.Hypervisor) driver.Hypervisor { return all.open(t, all.of(h)) },
		Spec: func(t *testing.T, h driver.Hypervisor, n int) driver.Spec {
			return withDisks(t, spec(all.of(h), n))
		},
		Banner:  "SeaBIOS",
		Content: content,
		Crash:   signal(syscall.SIGKILL),
		Hang:    signal(syscall.SIGSTOP),
		Guest: &drivertest.Guest{
			Spec: func(t *testing.T, h driver.Hypervisor, n int) driver.Spec {
				return guestSpec(t, all.of(h), n)
			},
			Prompt: " login: ", PowerOff: "\npoweroff -f\n", Restart: "\nreboot -f\n",
		},
	})
}

// guestSpec is a machine with an operating system, on an overlay of its image.
func guestSpec(t *testing.T, dir string, n int) driver.Spec {
	t.Helper()
	image := guest.Image(t)
	s := spec(dir, n)
	s.MemoryMiB = 128
	s.Disks[0] = driver.Disk{Device: "vda", Path: filepath.Join(dir, fmt.Sprintf("guest%d.qcow2", n)), Format: "qcow2", Bus: "virtio"}
	if _, err := os.Stat(s.Disks[0].Path); err == nil {
		return s
	}
	create := exec.Command(need.Program(t, "qemu-img", "qemu-utils"), "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", s.Disks[0].Path)
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}
