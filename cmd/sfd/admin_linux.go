package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// inDataDir calls fn with a path of the data directory that is short enough for a socket.
func inDataDir(c *config, name string, fn func(path string) error) error {
	return viaDir(c.path(name), fn)
}

// viaDir calls fn with another path of a file, which is short enough for a socket.
func viaDir(path string, fn func(path string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// serveAdmin lets root at the records until it is stopped. The data directory is locked.
func serveAdmin(c *config, a *admin) (stop func(), err error) {
	var l *net.UnixListener
	err = inDataDir(c, adminSocket, func(path string) error {
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
		return nil, fmt.Errorf("listen for root in %s: %w", c.dataDir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("root is not answered any more", "socket", c.path(adminSocket), "error", err)
		}
	}()
	return func() {
		cancel()
		server.Close()
	}, nil
}

// dialDaemon connects to the sfd that runs over the data directory, or is errNoDaemon.
func dialDaemon(ctx context.Context, c *config) (conn net.Conn, err error) {
	err = inDataDir(c, adminSocket, func(path string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, errNoDaemon
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("only root may ask the sfd that runs over %s: %w", c.dataDir, err)
	case err != nil:
		return nil, fmt.Errorf("ask the running sfd: %w", err)
	}
	return conn, nil
}
