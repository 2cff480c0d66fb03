package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/qemu"
)

// newGuard returns the daemon's guard; nil where none is wanted. That of an earlier
// daemon stands until this one's does, or until it is known that none is wanted.
func newGuard(c *config, args []string) (*guard, error) {
	g := &guard{socket: c.path(guardSocket)}
	if err := asideGuard(g.socket); err != nil {
		return nil, err
	}
	if c.selfFence == 0 {
		return nil, nil
	}
	g.start = func(ctx context.Context) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.Command(self, append([]string{guardCommand}, args...)...)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process
		if err := cmd.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for deadline := time.After(guardPatience); ; {
			if conn, err := dialGuard(ctx, g.socket); err == nil {
				return conn.Close()
			}
			select {
			case err := <-ended:
				return fmt.Errorf("it ended: %w", errors.Join(err, errors.New("see its last words in the log")))
			case <-deadline:
				return errors.New("it does not answer")
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return g, nil
}

// dialGuard connects to the guard that has a name.
func dialGuard(ctx context.Context, socket string) (conn net.Conn, err error) {
	err = viaDir(socket, func(path string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// listenGuard takes a guard's post. The name stays when the listener is closed: it may
// be another guard's by then.
func listenGuard(socket string) (l *net.UnixListener, err error) {
	err = viaDir(socket, func(path string) error {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err == nil {
		l.SetUnlinkOnClose(false)
	}
	return l, err
}

// stand is `sfd guard`: it destroys this host's machines when the daemon has not
// told it in time that they may run.
func stand(ctx context.Context, c *config, log *slog.Logger) error {
	if err := os.Remove(c.path(guardSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := listenGuard(c.path(guardSocket))
	if err != nil {
		return err
	}
	if err := os.Chmod(c.path(guardSocket), 0o600); err != nil {
		return err
	}
	p := &post{done: make(chan struct{})}
	p.fire = func(told func() bool) { strike(context.WithoutCancel(ctx), c, told, log) }
	return p.serve(l)
}

// strike ends all machines, again until none is left: others count on it. It stops
// when it is told that they may run.
func strike(ctx context.Context, c *config, told func() bool, log *slog.Logger) {
	for !told() {
		left, err := endMachines(ctx, c, log)
		if err == nil && left == 0 {
			return
		}
		if _, gone := os.Stat(c.dataDir); errors.Is(gone, os.ErrNotExist) {
			return // with all that told which machines were this node's
		}
		log.Error("machines that must not run any more are left", "machines", left, "error", err)
		time.Sleep(struckAgain)
	}
}

const struckAgain = 500 * time.Millisecond

// endMachines destroys the machines of this node, and returns how many may be left. Where a daemon that
// is stuck has its hands on them, their emulators are ended: it finds them crashed.
func endMachines(ctx context.Context, c *config, log *slog.Logger) (left int, err error) {
	known, err := readIdentity(c)
	if err != nil {
		return 0, err
	}
	h, err := openHypervisor(ctx, c, known.tag(), log)
	if err != nil {
		log.Warn("ending machines over the head of whoever controls them", "because", err)
		return endEmulators(ctx, c, known)
	}
	defer h.Close()
	machines, err := h.List(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, m := range machines {
		log.Error("destroying a machine: this node has been without its session for too long, and others may start it", "machine", m.ID)
		if err := h.Destroy(ctx, m.ID); err != nil {
			left++
			errs = append(errs, err)
		}
	}
	return left, errors.Join(errs...)
}

// endEmulators ends machines without anybody's consent. Those that it found count as
// left, so that it looks once more.
func endEmulators(ctx context.Context, c *config, known identity) (found int, err error) {
	if c.virt == "libvirt" {
		return libvirt.End(ctx, c.libvirtSocket, known.tag())
	}
	dir, err := filepath.EvalSymlinks(c.path("machines"))
	if err != nil {
		return 0, err
	}
	all, err := qemu.Processes()
	errs := []error{err}
	for _, p := range all {
		if p.Dir == dir {
			found++
			errs = append(errs, p.End())
		}
	}
	return found, errors.Join(errs...)
}
