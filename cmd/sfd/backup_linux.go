package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/archive"
)

// backupSocket is where a running sfd, which alone can read the records in its data
// directory, hands out archives of them to root.
const backupSocket = "backup.sock"

// inDataDir calls fn with a path of the data directory that is short enough for a socket.
func inDataDir(c *config, name string, fn func(path string) error) error {
	dir, err := os.Open(c.dataDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
}

// serveBackups hands out archives until it is stopped. The data directory is locked.
func serveBackups(c *config, s store.Store, cloud string, log *slog.Logger) (stop func(), err error) {
	var l *net.UnixListener
	err = inDataDir(c, backupSocket, func(path string) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
			return err
		}
		l.SetUnlinkOnClose(false) // its name here is not its name later
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("listen for backups: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handOut(ctx, conn, s, cloud, log)
		}
	}()
	return func() {
		l.Close()
		cancel()
	}, nil
}

// handOut writes an archive to a connection. The one who reads finds out whether it is whole.
func handOut(ctx context.Context, conn net.Conn, s store.Store, cloud string, log *slog.Logger) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	records, err := archive.Write(ctx, conn, s, archive.Header{Cloud: cloud, Made: time.Now().UTC()})
	if err != nil {
		log.Warn("a backup was not finished", "error", err)
		return
	}
	log.Info("handed out a backup", "records", records)
}

// askDaemon writes the archive that a running sfd hands out; false when none runs.
func askDaemon(ctx context.Context, c *config, w io.Writer) (running bool, err error) {
	var conn net.Conn
	err = inDataDir(c, backupSocket, func(path string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask the running sfd: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.Copy(w, conn); err != nil {
		return true, fmt.Errorf("ask the running sfd: %w", err)
	}
	return true, ctx.Err()
}

// keepStore does what a store needs beside a cloud, until it is stopped: one in the
// data directory is backed up through us, one in etcd has to be compacted.
func keepStore(c *config, s store.Store, cloud string, log *slog.Logger) (stop func(), err error) {
	if !c.shared() {
		return serveBackups(c, s, cloud, log)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if c.etcd.retention > 0 {
		go keepCompact(ctx, s, c.etcd.retention, log)
	}
	return cancel, nil
}
