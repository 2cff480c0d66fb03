// Package console shares a machine's serial port among all who look at it.
package console

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
	"github.com/shakenfist/cloud/driver/internal/backlog"
)

// keepOutput is how many bytes a viewer may lag behind before it loses some.
const keepOutput = 256 << 10

// Config of a Port. All fields are required.
type Config struct {
	Name string // of the console, for errors
	// Dial connects to the emulator. It fails at once where nobody listens any more.
	Dial func(context.Context) (net.Conn, error)
	// Go runs what reads from a connection, for as long as that lasts.
	Go func(func())
	// Context ends with the driver. Broken connections are made again under it.
	Context context.Context
	Timeout time.Duration // of a write
}

// Port is a machine's serial port, shared by its viewers over the one connection
// that an emulator serves. Once there was a viewer it stays connected: QEMU takes
// input at the guest's pace and drops what is left when its peer goes.
type Port struct {
	cfg Config

	mu      sync.Mutex
	viewers map[*Viewer]struct{}
	conn    net.Conn
	ended   error // for whoever opens it; nil while that can be done
}

// New makes a port that is not connected yet.
func New(cfg Config) *Port { return &Port{cfg: cfg, viewers: map[*Viewer]struct{}{}} }

// Open returns one more view of the port, which shows what is printed from now on.
// ctx bounds the opening only.
func (p *Port) Open(ctx context.Context) (*Viewer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return nil, p.ended
	}
	if p.conn == nil {
		conn, err := p.cfg.Dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
		p.conn = conn
		p.cfg.Go(func() { p.pump(conn) })
	}
	v := &Viewer{p: p, output: backlog.New(&p.mu, keepOutput)}
	p.viewers[v] = struct{}{}
	return v, nil
}

// pump reads the port as fast as it gives, so that the machine never waits for a
// viewer. QEMU closes the port only when it ends; should the connection break for
// another reason, it is made again.
func (p *Port) pump(conn net.Conn) {
	buf := make([]byte, 32<<10)
	for conn != nil {
		n, err := conn.Read(buf)
		p.mu.Lock()
		for v := range p.viewers {
			v.output.Feed(buf[:n])
		}
		if err != nil {
			conn.Close()
			conn = p.redial()
		}
		p.mu.Unlock()
	}
}

// redial replaces a broken connection, or ends the viewers; p.mu is held. After
// an end of QEMU its listening socket is gone as well, so this fails at once.
func (p *Port) redial() net.Conn {
	p.conn = nil
	if p.ended == nil {
		if conn, err := p.cfg.Dial(p.cfg.Context); err == nil {
			p.conn = conn
			return conn
		}
	}
	p.finish()
	return nil
}

// End is the machine being off for good: its viewers get what is left and then
// io.EOF, from pump where that still reads. Opening it is then driver.ErrState.
func (p *Port) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = driver.ErrState
	if p.conn == nil {
		p.finish()
	}
}

// Close is the driver being closed, which the machine does not notice. Opening the
// port is then fs.ErrClosed.
func (p *Port) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = fs.ErrClosed
	if p.conn != nil {
		p.conn.Close()
	}
	p.finish()
}

func (p *Port) finish() {
	for v := range p.viewers {
		v.output.End(io.EOF)
	}
	clear(p.viewers)
}

// Viewer is one open view of a Port, as driver.Consoler returns it.
type Viewer struct {
	p      *Port
	output *backlog.Backlog // its lock is p.mu
}

// Read waits for output. It ends with io.EOF when the machine is off. A reader that
// is too slow loses the oldest output.
func (v *Viewer) Read(b []byte) (int, error) { return v.output.Read(b) }

// Write types on the serial port. An emulator that does not take it within the
// driver's time limit is an error.
func (v *Viewer) Write(b []byte) (int, error) {
	v.p.mu.Lock()
	conn, err := v.p.conn, v.output.Err()
	v.p.mu.Unlock()
	if errors.Is(err, fs.ErrClosed) {
		return 0, err
	}
	if err != nil || conn == nil {
		return 0, fmt.Errorf("%s: the machine is off: %w", v.p.cfg.Name, driver.ErrState)
	}
	conn.SetWriteDeadline(time.Now().Add(v.p.cfg.Timeout))
	n, err := conn.Write(b)
	if err != nil {
		return n, fmt.Errorf("%s: %w", v.p.cfg.Name, err)
	}
	return n, nil
}

// Close ends this view alone.
func (v *Viewer) Close() error {
	v.p.mu.Lock()
	defer v.p.mu.Unlock()
	v.output.Drop(fmt.Errorf("%s: %w", v.p.cfg.Name, fs.ErrClosed))
	delete(v.p.viewers, v)
	return nil
}
