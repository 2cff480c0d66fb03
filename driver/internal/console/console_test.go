package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// emulator is the other end of a port, of one connection at a time.
type emulator struct {
	*testing.T
	port  *Port
	calls chan net.Conn
	pumps sync.WaitGroup
}

func newEmulator(t *testing.T, timeout time.Duration) *emulator {
	e := &emulator{T: t, calls: make(chan net.Conn, 1)}
	gone := make(chan struct{})
	e.port = New(Config{
		Name: "test: console of it", Go: e.pumps.Go, Context: t.Context(), Timeout: timeout,
		Dial: func(context.Context) (net.Conn, error) {
			select {
			case <-gone:
				return nil, errors.New("nobody listens")
			default:
			}
			near, far := net.Pipe()
			e.calls <- far
			return near, nil
		},
	})
	t.Cleanup(func() { close(gone); e.port.Close(); e.pumps.Wait() })
	return e
}

func (e *emulator) open() *Viewer {
	e.Helper()
	v, err := e.port.Open(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	return v
}

func (e *emulator) print(conn net.Conn, text string) {
	e.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		e.Fatal(err)
	}
}

func (e *emulator) shows(r io.Reader, want string) {
	e.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		e.Fatalf("shown is %q, %v; want %q", got, err, want)
	}
}

// Viewers share one connection. Each sees what comes after its opening, may type,
// and closes itself alone.
func TestViewers(t *testing.T) {
	e := newEmulator(t, time.Minute)
	first := e.open()
	conn := <-e.calls
	e.print(conn, "one ")
	e.shows(first, "one ")
	second := e.open()
	e.print(conn, "two ")
	e.shows(first, "two ")
	e.shows(second, "two ")
	e.pumps.Go(func() { second.Write([]byte("typed")) })
	e.shows(conn, "typed")

	first.Close()
	for name, call := range map[string]func([]byte) (int, error){"Read": first.Read, "Write": first.Write} {
		if _, err := call([]byte("x")); !errors.Is(err, fs.ErrClosed) || !strings.HasPrefix(err.Error(), "test: console of it") {
			t.Errorf("%s of a closed view: %v", name, err)
		}
	}
	if n := len(e.port.viewers); n != 1 {
		t.Errorf("%d views are fed", n)
	}
	e.print(conn, "three")
	e.shows(second, "three")
	second.Close()
	e.print(conn, "to nobody") // the connection stays
}

// A viewer who does not read holds up neither the machine nor another viewer, and
// finds the end of what it missed.
func TestSlowViewer(t *testing.T) {
	e := newEmulator(t, time.Minute)
	slow, quick := e.open(), e.open()
	conn := <-e.calls
	line := strings.Repeat("x", 4095) + "\n"
	for range 2 * keepOutput / len(line) {
		e.print(conn, line)
		e.shows(quick, line)
	}
	e.print(conn, "the end")
	e.shows(quick, "the end")
	got := make([]byte, 2*keepOutput)
	n, err := slow.Read(got)
	if n != keepOutput || err != nil || !bytes.HasSuffix(got[:n], []byte("x\nthe end")) {
		t.Errorf("kept are %d bytes, %v", n, err)
	}
}

// A connection that breaks while the machine is on is made again; the viewers stay.
func TestRedial(t *testing.T) {
	e := newEmulator(t, time.Minute)
	v := e.open()
	(<-e.calls).Close()
	conn := <-e.calls
	e.print(conn, "again")
	e.shows(v, "again")
}

// When the machine is off its viewers get what is left, io.EOF, and no ear.
func TestEnd(t *testing.T) {
	e := newEmulator(t, time.Minute)
	v := e.open()
	conn := <-e.calls
	e.port.End()
	e.print(conn, "last words")
	conn.Close()
	if got, err := io.ReadAll(v); string(got) != "last words" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := v.Write([]byte("x")); !errors.Is(err, driver.ErrState) {
		t.Errorf("writing to a machine that is off: %v", err)
	}
	if _, err := e.port.Open(t.Context()); !errors.Is(err, driver.ErrState) {
		t.Errorf("opening it: %v", err)
	}
	select {
	case <-e.calls:
		t.Error("it was dialled again")
	default:
	}
}

// A closed driver lets go of the port: views end, and none is opened any more.
func TestClose(t *testing.T) {
	e := newEmulator(t, time.Minute)
	v := e.open()
	e.port.Close()
	if got, err := io.ReadAll(v); len(got) != 0 || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := e.port.Open(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("opening it: %v", err)
	}
	if _, err := (<-e.calls).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is still there: %v", err)
	}
	e.pumps.Wait()
}

// An emulator that takes no input is an error and no wait.
func TestDeaf(t *testing.T) {
	e := newEmulator(t, time.Millisecond)
	v := e.open()
	if n, err := v.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestNobodyListens(t *testing.T) {
	broken := errors.New("nobody listens")
	p := New(Config{Dial: func(context.Context) (net.Conn, error) { return nil, broken }})
	if _, err := p.Open(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
