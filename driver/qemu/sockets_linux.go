package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A socket's address holds 107 bytes, a registry's path may be longer: sockets
// are bound and dialled through a descriptor of their directory.
func viaDir(path string, f func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// listen makes a listening socket for QEMU to inherit. Made here it exists before
// QEMU does: the first dial neither fails nor polls, and QEMU needs no right to
// the directory.
func listen(path string) (f *os.File, err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	err = viaDir(path, func(short string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		f, err = l.File()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return f, nil
}

func dial(ctx context.Context, path string, timeout time.Duration) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: timeout}
	err = viaDir(path, func(short string) error {
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return conn, nil
}
