package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long something that another process has is waited for. An sfd
// that is killed while it starts a QEMU leaves a child which has everything of
// its parent's open until it has become that QEMU, some milliseconds later.
const patience = 2 * time.Second

// patiently tries again while something is busy.
func patiently(ctx context.Context, busy error, try func() error) error {
	for end := time.Now().Add(patience); ; {
		err := try()
		if !errors.Is(err, busy) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lockDir keeps a second sfd out of the data directory. The lock ends with the
// process; the file stays, with the process ID of who had it last.
func lockDir(ctx context.Context, c *config) (io.Closer, error) {
	if err := os.MkdirAll(c.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w; make it writable or choose another with --data-dir", err)
	}
	f, err := os.OpenFile(c.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s is not writable: %w; make it so or choose another with --data-dir", c.dataDir, err)
	}
	err = patiently(ctx, unix.EWOULDBLOCK, func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		pid, _ := io.ReadAll(io.LimitReader(f, 20)) // unreadable: the message does without
		return nil, fmt.Errorf("another sfd (pid %s) uses %s: stop it, or choose another --data-dir", orUnknown(string(pid)), c.dataDir)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

func orUnknown(pid string) string {
	if pid = strings.TrimSpace(pid); pid == "" {
		return "unknown"
	}
	return pid
}

// lockHost keeps a second sfd with our ownership mark out of this network
// namespace: one over a copy of the data directory would otherwise fight us for
// the same devices. Abstract sockets belong to a network namespace and go with
// their process.
func lockHost(ctx context.Context, tag string) (l io.Closer, err error) {
	name := &net.UnixAddr{Name: "@shakenfist/" + tag, Net: "unix"}
	err = patiently(ctx, unix.EADDRINUSE, func() error {
		l, err = net.ListenUnix("unix", name)
		return err
	})
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("lock the host's networks: %w", err)
	}
	return nil, fmt.Errorf("another sfd (pid %s) runs the networks of %s here, over another copy of its data directory: stop it", holder(name), tag)
}

// holder returns the process ID of who listens on a socket.
func holder(name *net.UnixAddr) string {
	conn, err := net.DialUnix("unix", nil, name)
	if err != nil {
		return "unknown"
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return "unknown"
	}
	pid := "unknown"
	err = raw.Control(func(fd uintptr) {
		if who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = fmt.Sprint(who.Pid)
		}
	})
	if err != nil {
		return "unknown"
	}
	return pid
}
