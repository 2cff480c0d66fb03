// Package libvirttest runs a libvirtd of a test's own: with directories, a mount
// namespace and a network namespace that nobody else has, below a process that
// reaps what libvirtd leaves and ends it all when the test's process ends.
package libvirttest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// Host is a host of virtual machines: one libvirtd with its virtlogd.
type Host struct {
	// Dir is a directory that the user of the QEMUs may enter, gone after the test.
	Dir string
	// Socket is libvirtd's.
	Socket string
	// NetNS is the path of libvirtd's network namespace.
	NetNS string

	holder  *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
}

// patience bounds each wait for a daemon.
const patience = 30 * time.Second

// Start starts a host. Its end is t's. TestMain must call Main first.
func Start(t testing.TB) *Host {
	t.Helper()
	need.Root(t)
	libvirtd := need.Program(t, "libvirtd", "libvirt-daemon")
	virtlogd := need.Program(t, "virtlogd", "libvirt-daemon")
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	plugins, _ := filepath.Glob("/usr/lib*/*/libvirt/connection-driver/libvirt_driver_qemu.so")
	if len(plugins) == 0 {
		plugins, _ = filepath.Glob("/usr/lib*/libvirt/connection-driver/libvirt_driver_qemu.so")
	}
	if len(plugins) == 0 {
		need.Missing(t, "libvirt's driver for QEMU (Debian package libvirt-daemon-driver-qemu; `make deps` installs it)")
	}
	dir, err := os.MkdirTemp("", "sfvirt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	h := &Host{Dir: dir, Socket: filepath.Join(dir, "run/libvirt-sock")}
	h.hold(t, virtlogd, libvirtd)
	h.Launch(t)
	return h
}

func (h *Host) hold(t testing.TB, virtlogd, libvirtd string) {
	t.Helper()
	h.holder = exec.Command("/proc/self/exe")
	h.holder.Env = append(os.Environ(), holderEnv+"="+strings.Join([]string{h.Dir, virtlogd, libvirtd}, ":"))
	h.holder.Stderr = os.Stderr
	h.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	in, err := h.holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.in, h.answers = in, bufio.NewScanner(out)
	if err := h.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := h.holder.Wait(); err != nil {
			t.Errorf("libvirttest: %v", err)
		}
		if t.Failed() {
			h.showLogs(t)
		}
	})
	h.NetNS = fmt.Sprintf("/proc/%d/ns/net", h.holder.Process.Pid)
	h.ask(t, "prepare")
}

// ask has the holder do something.
func (h *Host) ask(t testing.TB, what string) {
	t.Helper()
	if _, err := fmt.Fprintln(h.in, what); err != nil {
		t.Fatalf("libvirttest: %s: %v", what, err)
	}
	if !h.answers.Scan() {
		t.Fatalf("libvirttest: %s: no answer: %v", what, h.answers.Err())
	}
	if answer := h.answers.Text(); answer != "ok" {
		t.Fatalf("libvirttest: %s: %s", what, answer)
	}
}

// Kill kills libvirtd, as the kernel does when memory is short. Machines run on.
func (h *Host) Kill(t testing.TB) {
	t.Helper()
	h.ask(t, "kill")
}

// Launch starts libvirtd and waits until it answers.
func (h *Host) Launch(t testing.TB) {
	t.Helper()
	h.ask(t, "launch")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		c := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(h.Socket)))
		err := c.Connect() // opens the driver for QEMU, which has to be ready
		if err == nil {
			c.Disconnect()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("libvirttest: libvirtd does not come up: %v", err)
		case <-time.After(20 * time.Millisecond): // nothing tells when it listens
		}
	}
}

// Command returns a program that will run beside libvirtd: virsh or ip, say.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	pid := fmt.Sprint(h.holder.Process.Pid)
	return exec.Command("nsenter", append([]string{"-t", pid, "--mount", "--net", name}, args...)...)
}

func (h *Host) showLogs(t testing.TB) {
	logs, _ := filepath.Glob(filepath.Join(h.Dir, "*.log"))
	more, _ := filepath.Glob(filepath.Join(h.Dir, "log/qemu/*.log"))
	for _, path := range append(logs, more...) {
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 {
			t.Logf("%s ends with:\n%s", path, b[max(0, len(b)-3000):])
		}
	}
}
