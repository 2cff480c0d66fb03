package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// keepOutput is how many bytes a viewer may lag behind before it loses some.
const keepOutput = 256 << 10

// port is a machine's serial port, shared by its viewers over the one connection
// that QEMU serves. Once there was a viewer it stays connected: QEMU takes input
// at the guest's pace and drops what is left when its peer goes.
type port struct {
	m *machine

	mu      sync.Mutex
	viewers map[*viewer]struct{}
	conn    net.Conn
	closed  bool // with the driver
}

func newPort(m *machine) *port { return &port{m: m, viewers: map[*viewer]struct{}{}} }

// viewer is one open Console.
type viewer struct {
	p    *port
	wake sync.Cond // on p.mu
	buf  []byte
	err  error // what Read returns when buf is empty
}

// Console implements driver.Consoler. ctx bounds the opening only.
func (h *Hypervisor) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var v *viewer
	err := h.withOn(ctx, id, "open the console of", func(ctx context.Context, m *machine) (err error) {
		v, err = m.console.open(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (p *port) open(ctx context.Context) (*viewer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fs.ErrClosed
	}
	if p.conn == nil {
		conn, err := p.dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
		p.conn = conn
		p.m.h.work.Go(func() { p.pump(conn) })
	}
	v := &viewer{p: p}
	v.wake.L = &p.mu
	p.viewers[v] = struct{}{}
	return v, nil
}

// dial does not wait: a unix socket connects at once or fails.
func (p *port) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: p.m.h.cfg.Timeout}
	return d.DialContext(ctx, "unix", consoleSocket(p.m.spec()))
}

// pump reads the port as fast as it gives, so that the machine never waits for a
// viewer. QEMU closes the port only when it ends; should the connection break for
// another reason, it is made again.
func (p *port) pump(conn net.Conn) {
	buf := make([]byte, 32<<10)
	for conn != nil {
		n, err := conn.Read(buf)
		p.mu.Lock()
		for v := range p.viewers {
			v.feed(buf[:n])
		}
		if err != nil {
			conn.Close()
			conn = p.redial()
		}
		p.mu.Unlock()
	}
}

// redial replaces a broken connection, or ends the viewers; p.mu is held. After
// an end of QEMU nobody listens on its socket, so this fails at once.
func (p *port) redial() net.Conn {
	p.conn = nil
	if !p.closed {
		if conn, err := p.dial(p.m.h.ctx); err == nil {
			p.conn = conn
			return conn
		}
	}
	p.finish()
	return nil
}

// detach is the driver being closed.
func (p *port) detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.conn != nil {
		p.conn.Close()
	}
	p.finish()
}

func (p *port) finish() {
	for v := range p.viewers {
		v.err = io.EOF
		v.wake.Broadcast()
	}
	clear(p.viewers)
}

// feed drops the oldest output when the reader is too slow; p.mu is held.
func (v *viewer) feed(b []byte) {
	v.buf = append(v.buf, b...)
	if over := len(v.buf) - keepOutput; over > 0 {
		v.buf = append([]byte(nil), v.buf[over:]...)
	}
	v.wake.Broadcast()
}

// Read waits for output. It ends with io.EOF when the machine is off.
func (v *viewer) Read(b []byte) (int, error) {
	v.p.mu.Lock()
	defer v.p.mu.Unlock()
	for len(v.buf) == 0 && v.err == nil && len(b) > 0 {
		v.wake.Wait()
	}
	if len(v.buf) == 0 && v.err != nil {
		return 0, v.err
	}
	n := copy(b, v.buf)
	v.buf = v.buf[n:]
	return n, nil
}

// Write types on the serial port. An emulator that does not take it within the
// driver's time limit is an error.
func (v *viewer) Write(b []byte) (int, error) {
	v.p.mu.Lock()
	conn, err := v.p.conn, v.err
	v.p.mu.Unlock()
	if errors.Is(err, fs.ErrClosed) {
		return 0, err
	}
	if err != nil || conn == nil {
		return 0, fmt.Errorf("libvirt: console of %s: the machine is off: %w", v.p.m.id, driver.ErrState)
	}
	conn.SetWriteDeadline(time.Now().Add(v.p.m.h.cfg.Timeout))
	n, err := conn.Write(b)
	if err != nil {
		return n, fmt.Errorf("libvirt: console of %s: %w", v.p.m.id, err)
	}
	return n, nil
}

// Close ends this view alone.
func (v *viewer) Close() error {
	p := v.p
	p.mu.Lock()
	defer p.mu.Unlock()
	v.err = fmt.Errorf("libvirt: console of %s: %w", p.m.id, fs.ErrClosed)
	v.buf = nil
	v.wake.Broadcast()
	delete(p.viewers, v)
	return nil
}
