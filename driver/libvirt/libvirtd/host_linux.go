// Package libvirtd runs a libvirtd beside the machine's own, if it has one: with
// directories and a mount namespace that nobody else has, in a network namespace
// of its own or of the caller's, below a process that reaps what libvirtd leaves
// and ends it all when the caller's process ends. Several of them on one machine
// are several hosts of virtual machines.
package libvirtd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"golang.org/x/sys/unix"
)

// Config says what is special about a host. Dir is required.
type Config struct {
	// Dir is where everything of the host's is, removed by nobody. The user of the
	// QEMUs, nobody, has to be able to enter it.
	Dir string
	// Start starts the command that becomes the holder, for who wants it in a network
	// namespace of theirs; nil starts it in a new one.
	Start func(*exec.Cmd) error
	// Stderr is what the holder complains to; nil is the program's own.
	Stderr *os.File
}

// Host is a host of virtual machines: one libvirtd with its virtlogd.
type Host struct {
	// Dir is Config.Dir.
	Dir string
	// Socket is libvirtd's.
	Socket string
	// NetNS is the path of libvirtd's network namespace.
	NetNS string

	holder *exec.Cmd
	in     io.WriteCloser

	mu      sync.Mutex // one question at a time
	answers *bufio.Scanner
}

// patience bounds each wait for a daemon.
const patience = 30 * time.Second

// Start starts a host, and waits until libvirtd answers. The program must have
// called Main first.
func Start(ctx context.Context, c Config) (*Host, error) {
	programs, err := find()
	if err != nil {
		return nil, err
	}
	h := &Host{Dir: c.Dir, Socket: filepath.Join(c.Dir, "run/libvirt-sock")}
	h.holder = exec.Command("/proc/self/exe")
	h.holder.Args = []string{"libvirtd-holder"}
	h.holder.Env = append(os.Environ(), holderEnv+"="+strings.Join(append([]string{c.Dir}, programs...), ":"))
	h.holder.Stderr = os.Stderr
	if c.Stderr != nil {
		h.holder.Stderr = c.Stderr
	}
	h.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if c.Start == nil {
		h.holder.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
		c.Start = (*exec.Cmd).Start
	}
	out, err := h.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if h.in, err = h.holder.StdinPipe(); err != nil {
		return nil, err
	}
	h.answers = bufio.NewScanner(out)
	if err := c.Start(h.holder); err != nil {
		return nil, fmt.Errorf("libvirtd: %w", err)
	}
	h.NetNS = fmt.Sprintf("/proc/%d/ns/net", h.holder.Process.Pid)
	if err = h.ask("prepare"); err == nil {
		err = h.Launch(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Close ends everything on the host: libvirtd, and the machines.
func (h *Host) Close() error {
	h.in.Close()
	if err := h.holder.Wait(); err != nil {
		return fmt.Errorf("libvirtd: %w", err)
	}
	return nil
}

// ask has the holder do something.
func (h *Host) ask(what string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := fmt.Fprintln(h.in, what); err != nil {
		return fmt.Errorf("libvirtd: %s: %w", what, err)
	}
	if !h.answers.Scan() {
		return fmt.Errorf("libvirtd: %s: no answer: %w", what, errors.Join(h.answers.Err(), io.ErrUnexpectedEOF))
	}
	if answer := h.answers.Text(); answer != "ok" {
		return fmt.Errorf("libvirtd: %s: %s", what, answer)
	}
	return nil
}

// Kill kills libvirtd, as the kernel does when memory is short. Machines run on.
func (h *Host) Kill() error { return h.ask("kill") }

// Launch starts libvirtd and waits until it answers.
func (h *Host) Launch(ctx context.Context) error {
	if err := h.ask("launch"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(h.Socket)))
		err := c.Connect() // opens the driver for QEMU, which has to be ready
		if err == nil {
			return c.Disconnect()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("libvirtd does not come up: %w", err)
		case <-time.After(20 * time.Millisecond): // nothing tells when it listens
		}
	}
}

// Command returns a program that will run beside libvirtd: virsh or ip, say.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", fmt.Sprint(h.Pid()), "--mount", "--net", name}, args...)...)
}

// Pid is the holder's process, which has the host's namespaces.
func (h *Host) Pid() int { return h.holder.Process.Pid }

// Logs are the files that the host's programs write to, machines' included.
func (h *Host) Logs() []string {
	logs, _ := filepath.Glob(filepath.Join(h.Dir, "*.log")) // the patterns are good
	more, _ := filepath.Glob(filepath.Join(h.Dir, "log/qemu/*.log"))
	return append(logs, more...)
}
