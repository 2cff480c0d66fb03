package node

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/spec"
)

// RawPorts are the seed's console_port and vdi_port: TCP ports that lead to an
// instance's serial console, by telnet, and to its screen, by VNC. Whoever can
// connect to them is not asked who they are.
type RawPorts struct {
	Address netip.Addr // that they listen on; not valid is 127.0.0.1
	Low     int        // the first port that may be taken; 0 is 30000 (to 50000)
	High    int        // the last
	// Listen opens a TCP listener; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error)
}

// ports are the listeners of one running instance.
type ports struct {
	mu        sync.Mutex
	listeners map[string]net.Listener // "console" and "vdi"
	conns     map[net.Conn]bool
	closed    bool
}

// openPorts opens what is not open of an instance's raw ports and writes their
// numbers into s, those of before if they are free.
func (a *Agent) openPorts(ctx context.Context, id string, s *spec.InstanceStatus) {
	if a.Raw == nil {
		s.ConsolePort, s.VDIPort = 0, 0
		return
	}
	a.mu.Lock()
	p := a.ports[id]
	if p == nil {
		p = &ports{listeners: map[string]net.Listener{}, conns: map[net.Conn]bool{}}
		a.ports[id] = p
	}
	a.mu.Unlock()
	s.ConsolePort = a.openPort(ctx, id, p, "console", s.ConsolePort, a.serveConsole)
	s.VDIPort = a.openPort(ctx, id, p, "vdi", s.VDIPort, a.serveDisplay)
}

// portTries is how many ports are tried before an instance goes without.
const portTries = 50

func (a *Agent) openPort(ctx context.Context, id string, p *ports, what string, before int, serve func(context.Context, string, net.Conn)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed { // just now: the machine has ended, or the agent ends
		return 0
	}
	if l := p.listeners[what]; l != nil {
		return l.Addr().(*net.TCPAddr).Port
	}
	for range portTries {
		port := before
		if port == 0 {
			port = a.Raw.Low + a.Intn(a.Raw.High-a.Raw.Low+1)
		}
		before = 0
		l, err := a.Raw.Listen("tcp", net.JoinHostPort(a.Raw.Address.String(), strconv.Itoa(port)))
		if err != nil {
			continue // somebody has it
		}
		p.listeners[what] = l
		a.spawn("port/"+what+"/"+id, func() { a.accept(ctx, id, p, l, serve) })
		return port
	}
	a.Logger.Warn("no free port", "node", a.Name, "instance", id, "for", what, "low", a.Raw.Low, "high", a.Raw.High)
	return 0
}

func (a *Agent) accept(ctx context.Context, id string, p *ports, l net.Listener, serve func(context.Context, string, net.Conn)) {
	stop := context.AfterFunc(ctx, func() { a.closePorts(id) })
	defer stop()
	for failures := 0; ; {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptor is left, such as: a port that is open is to be served
			failures++
			a.Logger.Warn("nobody can connect to a raw port now", "node", a.Name, "instance", id, "address", l.Addr(), "error", err)
			if a.Clock.Wait(ctx, reconcile.Backoff(failures), nil) != nil {
				return
			}
			continue
		}
		failures = 0
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			conn.Close()
			return
		}
		p.conns[conn] = true
		p.mu.Unlock()
		a.spawn("viewer/"+id, func() {
			serve(ctx, id, conn)
			conn.Close()
			p.mu.Lock()
			delete(p.conns, conn)
			p.mu.Unlock()
		})
	}
}

// closePorts closes an instance's raw ports and whoever is connected.
func (a *Agent) closePorts(id string) {
	a.mu.Lock()
	p := a.ports[id]
	delete(a.ports, id)
	a.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, l := range p.listeners {
		l.Close()
	}
	for c := range p.conns {
		c.Close()
	}
}

// Telnet's commands, as far as they occur here (RFC 854).
const (
	telnetIAC  = 255
	telnetDont = 254
	telnetWill = 251
	telnetSB   = 250
	telnetSE   = 240
)

// hello makes a telnet client send each key at once, unechoed and as it is.
var hello = []byte{telnetIAC, telnetWill, 1, telnetIAC, telnetWill, 3, telnetIAC, telnetWill, 0, telnetIAC, 253, 0}

// writeTimeout ends a viewer that takes nothing.
const writeTimeout = 10 * time.Second

func (a *Agent) serveConsole(ctx context.Context, id string, conn net.Conn) {
	console, err := a.Console(ctx, id)
	if err != nil {
		return
	}
	defer console.Close()
	if _, err := conn.Write(hello); err != nil {
		return
	}
	a.join(console, &telnetReader{r: conn}, &telnetWriter{conn})
}

func (a *Agent) serveDisplay(ctx context.Context, id string, conn net.Conn) {
	display, err := a.Display(ctx, id)
	if err != nil {
		return
	}
	defer display.Close()
	a.join(display, conn, deadlineWriter{conn})
}

// join copies both ways until one side ends.
func (a *Agent) join(machine io.ReadWriteCloser, from io.Reader, to io.Writer) {
	a.spawn("viewer", func() {
		_, _ = io.Copy(machine, from) // either end's error is the end
		machine.Close()
	})
	_, _ = io.Copy(to, machine)
}

// deadlineWriter gives up on a viewer that takes nothing.
type deadlineWriter struct{ conn net.Conn }

func (w deadlineWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}

// telnetWriter doubles the byte that begins telnet's commands.
type telnetWriter struct{ conn net.Conn }

func (w *telnetWriter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p))
	for _, b := range p {
		if out = append(out, b); b == telnetIAC {
			out = append(out, b)
		}
	}
	if _, err := (deadlineWriter{w.conn}).Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// telnetReader removes telnet's commands from what a client sends.
type telnetReader struct {
	r     io.Reader
	state int // 0: data, 1: after IAC, 2: an option follows, 3: in a subnegotiation, 4: IAC in one
	cr    bool
}

func (t *telnetReader) Read(p []byte) (int, error) {
	for {
		n, err := t.r.Read(p)
		kept := t.filter(p[:n])
		if kept > 0 || err != nil {
			return kept, err
		}
	}
}

// filter removes commands in place, and the NUL or LF that telnet sends after CR.
func (t *telnetReader) filter(p []byte) (kept int) {
	for _, b := range p {
		switch {
		case t.state == 1 && b == telnetIAC, t.state == 0 && b != telnetIAC:
			t.state = 0
			if after := t.cr; after && (b == 0 || b == '\n') {
				t.cr = false
				continue
			}
			t.cr = b == '\r'
			p[kept] = b
			kept++
		case t.state == 0:
			t.state = 1
		case t.state == 1 && b == telnetSB:
			t.state = 3
		case t.state == 1 && b >= telnetWill && b <= telnetDont:
			t.state = 2
		case t.state == 3 && b == telnetIAC:
			t.state = 4
		case t.state == 4 && b != telnetSE, t.state == 3:
			t.state = 3
		default:
			t.state = 0
		}
	}
	return kept
}
