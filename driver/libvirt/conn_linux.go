package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
)

// Numbers of libvirt's errors (virterror.h) that we act upon.
const (
	errInternal  = 1
	errNoDomain  = 42
	errInvalidOp = 55 // the domain is not running, or is already
	errTimedOut  = 68 // waited for the domain's lock: a new libvirtd holds it while it looks around
	errNoMeta    = 80
)

// conn is one connection to libvirtd. The protocol's library waits without limit
// and hears of no context: the only way to end a call is to cut the connection.
type conn struct {
	*golibvirt.Libvirt
	raw net.Conn
	cut func()        // may be repeated
	end chan struct{} // closed by cut, and when libvirtd closes
}

// socketConn tells when the connection is no more.
type socketConn struct {
	net.Conn
	cut func()
}

func (c socketConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.cut()
	}
	return n, err
}

// opened makes it a dialer.
type opened struct{ net.Conn }

func (o opened) Dial() (net.Conn, error) { return o.Conn, nil }

// connect opens a connection within ctx.
func connect(ctx context.Context, socket string) (*conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &conn{raw: raw, end: make(chan struct{})}
	c.cut = sync.OnceFunc(func() { raw.Close(); close(c.end) })
	c.Libvirt = golibvirt.NewWithDialer(opened{socketConn{raw, c.cut}})
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	if err := c.ConnectToURI(golibvirt.QEMUSystem); err != nil {
		c.cut()
		return nil, errors.Join(ctx.Err(), err)
	}
	return c, nil
}

// peer is the process behind a connection: libvirtd, or whoever listened for it.
func (c *conn) peer() (pid int, err error) {
	sc, err := c.raw.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	ctl := sc.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(ctl, err); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// code is the number of an error of libvirt's, 0 of others.
func code(err error) uint32 {
	var e golibvirt.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// errOurs is an error inside a call that libvirtd has no part in.
type errOurs struct{ error }

func (e errOurs) Unwrap() error { return e.error }

// lost reports whether a call failed for want of a libvirtd, not by its answer.
func lost(err error) bool {
	var ours errOurs
	return err != nil && (code(err) == 0 && !errors.As(err, &ours) || code(err) == errTimedOut)
}

// errAway is a libvirtd that cannot be reached.
type errAway struct {
	socket string
	err    error
}

func (e *errAway) Error() string {
	return fmt.Sprintf("libvirtd does not answer on %s (is it running? systemctl status libvirtd): %v", e.socket, e.err)
}

func (e *errAway) Unwrap() error { return e.err }

// retryEvery is how often a libvirtd that is away is tried again.
const retryEvery = 50 * time.Millisecond

// call runs one exchange that may wait for a QEMU, on a connection of its own, at
// most for limit. f is run again when libvirtd goes away under it, so it has to
// be fit for repetition.
func (h *Hypervisor) call(ctx context.Context, limit time.Duration, f func(*conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return h.again(ctx, func() (bool, error) {
		c, err := connect(ctx, h.cfg.Socket)
		if err != nil {
			return true, &errAway{h.cfg.Socket, err}
		}
		defer c.cut()
		stop := context.AfterFunc(ctx, c.cut)
		defer stop()
		err = f(c)
		return lost(err), err
	})
}

// ask runs one exchange that libvirt answers from memory, on the connection that
// also carries the events.
func ask[T any](ctx context.Context, h *Hypervisor, f func(*conn) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	type reply struct {
		value T
		err   error
	}
	err = h.again(ctx, func() (bool, error) {
		c := h.link()
		if c == nil {
			return true, &errAway{h.cfg.Socket, net.ErrClosed}
		}
		replies := make(chan reply, 1)
		h.calls.Go(func() {
			watchdog := time.AfterFunc(h.cfg.Timeout, c.cut)
			defer watchdog.Stop()
			v, err := f(c)
			replies <- reply{v, err}
		})
		select {
		case r := <-replies:
			answer = r.value
			return lost(r.err), r.err
		case <-ctx.Done():
			return false, ctx.Err()
		}
	})
	return answer, err
}

// again repeats try while that says so and ctx lasts. The error then is try's.
func (h *Hypervisor) again(ctx context.Context, try func() (bool, error)) error {
	for {
		repeat, err := try()
		if err == nil || !repeat {
			return err
		}
		timer := time.NewTimer(retryEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(err, ctx.Err()) {
				return err
			}
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}

// link returns the connection of queries and events, nil while there is none.
func (h *Hypervisor) link() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.eye
}

// dom names a machine's domain in calls; libvirt goes by its UUID.
func dom(id string) golibvirt.Domain {
	return golibvirt.Domain{Name: domainName(id), UUID: rawUUID(id), ID: -1}
}

func rawUUID(id string) (u golibvirt.UUID) {
	n := 0
	for i := 0; i+1 < len(id) && n < len(u); i++ {
		if id[i] == '-' {
			continue
		}
		fmt.Sscanf(id[i:i+2], "%02x", &u[n])
		n, i = n+1, i+1
	}
	return u
}

func textUUID(u golibvirt.UUID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
