package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/shakenfist/cloud/driver"
	"golang.org/x/sys/unix"
)

// maxViewers is how many screens of a machine are open at a time: QEMU keeps a
// picture for each in the machine's memory limit. One more ends the oldest.
const maxViewers = 8

// screen is the open viewers of a machine, the oldest first.
type screen struct {
	mu    sync.Mutex
	views []*view
	ended bool
}

// view is one open Display: our end of a socket pair whose other end QEMU has.
// Its Read ends with io.EOF when QEMU does.
type view struct {
	net.Conn
	screen *screen
}

// Display implements driver.Displayer. QEMU's VNC server listens nowhere: each
// viewer is one end of a socket pair, passed over the monitor, so nobody else can
// connect and a sandboxed QEMU needs no right to any directory. At most eight
// are open at a time, the oldest makes room. ctx bounds the opening only; Close of
// the driver ends a viewer.
func (h *Hypervisor) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var v *view
	err := h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("show the screen of")
		if err != nil {
			return err
		}
		if m.spec().Video.Model == "none" {
			return fmt.Errorf("%w: Video.Model is none, so there is no screen", driver.ErrInvalid)
		}
		v, err = s.view(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (s *session) view(ctx context.Context) (*view, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	const name = "viewer"
	err = s.ask(ctx, "getfd", object{"fdname": name}, nil, theirs)
	if err == nil {
		err = s.ask(ctx, "add_client", object{"protocol": "vnc", "fdname": name, "skipauth": true}, nil, nil)
	}
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("screen: %w", err)
	}
	return s.screen.add(ours)
}

// socketPair makes a connection and the file of its other end.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "viewer"), os.NewFile(uintptr(fds[1]), "screen")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return conn, theirs, nil
}

func (c *screen) add(conn net.Conn) (*view, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		conn.Close()
		return nil, driver.ErrState
	}
	if len(c.views) == maxViewers {
		c.views[0].Conn.Close()
		c.views = slices.Delete(c.views, 0, 1)
	}
	v := &view{Conn: conn, screen: c}
	c.views = append(c.views, v)
	return v, nil
}

// Read shows what the screen says. A QEMU that is killed may reset the connection:
// for a viewer that is an end like any other.
func (v *view) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

// Close ends this view alone.
func (v *view) Close() error {
	c := v.screen
	c.mu.Lock()
	defer c.mu.Unlock()
	c.views = slices.DeleteFunc(c.views, func(o *view) bool { return o == v })
	return v.Conn.Close()
}

// end is the machine being gone: viewers read what is left, then io.EOF.
func (c *screen) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.views = true, nil
}

// detach is the driver being closed.
func (c *screen) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.views {
		v.Conn.Close()
	}
	c.ended, c.views = true, nil
}
