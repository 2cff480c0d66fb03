package dhcpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// pipe is a conn in memory: the test sends frames in and takes replies out.
type pipe struct {
	in, out chan []byte
	done    chan struct{}
	once    sync.Once
	readErr error // what Read returns when in is closed
	fail    error // what Write returns
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte), out: make(chan []byte), done: make(chan struct{}), readErr: io.EOF}
}

func (p *pipe) Read(b []byte) (int, error) {
	select {
	case frame, ok := <-p.in:
		if !ok {
			return 0, p.readErr
		}
		return copy(b, frame), nil
	case <-p.done:
		return 0, errors.New("read on a closed pipe")
	}
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.fail != nil {
		return 0, p.fail
	}
	p.out <- bytes.Clone(b)
	return len(b), nil
}

func (p *pipe) Close() error { p.once.Do(func() { close(p.done) }); return nil }

func serve(ctx context.Context, s *Server, conn io.ReadWriteCloser) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn) }()
	return ended
}

func TestServe(t *testing.T) {
	var log bytes.Buffer
	s := NewServer(mustTable(t, testNetwork(), testLeases()), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	conn := newPipe()
	ended := serve(t.Context(), s, conn)
	discover := fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame()

	conn.in <- discover
	if m, _ := describe(t, <-conn.out); m.YourIPAddr.String() != guest.String() {
		t.Errorf("offered %v", m.YourIPAddr)
	}
	// Frames without an answer, then a change of tables that the next answer shows.
	conn.in <- []byte("short")
	conn.in <- fromClient(message(dhcpv4.MessageTypeDiscover, mac("02:00:00:00:00:99"))).frame()
	conn.in <- fromClient(message(dhcpv4.MessageTypeDecline, guestMAC)).frame()
	moved := mustTable(t, testNetwork(), []Lease{{MAC: guestMAC, Addr: netip.MustParseAddr("10.1.2.20")}})
	conn.in <- fromClient(message(dhcpv4.MessageTypeDiscover, mac("02:00:00:00:00:98"))).frame()
	s.Set(moved)
	if s.Table() != moved {
		t.Error("Table is not what was Set")
	}
	conn.in <- discover
	if m, _ := describe(t, <-conn.out); m.YourIPAddr.String() != "10.1.2.20" {
		t.Errorf("offered %v after the change", m.YourIPAddr)
	}
	close(conn.in)
	if err := <-ended; err != nil {
		t.Errorf("at the end of the conn: %v", err)
	}
	want := Stats{Offered: 2, NotDHCP: 1, Unknown: 2, Declined: 1}
	if got := s.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	for _, line := range []string{
		`level=DEBUG msg="dhcp: request" client=02:00:00:00:00:0a verdict=offered`,
		`level=DEBUG msg="dhcp: request" client="" verdict="not DHCP"`,
		`level=DEBUG msg="dhcp: request" client=02:00:00:00:00:0a verdict=declined`,
	} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("log lacks %s:\n%s", line, log.String())
		}
	}
}

func TestServeEndsWithContext(t *testing.T) {
	cause := errors.New("network deleted")
	ctx, cancel := context.WithCancelCause(t.Context())
	conn := newPipe()
	ended := serve(ctx, NewServer(mustTable(t, testNetwork(), nil), nil), conn)
	conn.in <- []byte("the loop is running")
	cancel(cause)
	if err := <-ended; err != cause {
		t.Errorf("Serve: %v, want %v", err, cause)
	}
	<-conn.done
}

func TestServeReportsReadError(t *testing.T) {
	conn := newPipe()
	conn.readErr = errors.New("broken wire")
	close(conn.in)
	err := NewServer(mustTable(t, testNetwork(), nil), nil).Serve(t.Context(), conn)
	if !errors.Is(err, conn.readErr) {
		t.Errorf("Serve: %v, want %v", err, conn.readErr)
	}
	<-conn.done
}

func TestServeSurvivesWriteError(t *testing.T) {
	var log bytes.Buffer
	s := NewServer(mustTable(t, testNetwork(), testLeases()), slog.New(slog.NewTextHandler(&log, nil)))
	conn := newPipe()
	conn.fail = errors.New("no buffer space")
	ended := serve(t.Context(), s, conn)
	for range 2 {
		conn.in <- fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame()
	}
	close(conn.in)
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := s.Stats(); got != (Stats{Offered: 2, Failed: 2}) {
		t.Errorf("stats %+v", got)
	}
	if n := strings.Count(log.String(), "no buffer space"); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, log.String())
	}
}

// repeat is a conn that delivers a frame n times and swallows replies.
type repeat struct {
	frame []byte
	n     int
}

func (r *repeat) Read(b []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	r.n--
	return copy(b, r.frame), nil
}
func (r *repeat) Write(b []byte) (int, error) { return len(b), nil }
func (r *repeat) Close() error                { return nil }

// The loop's allocations do not depend on the number of frames.
func TestServeDoesNotAllocate(t *testing.T) {
	s := NewServer(mustTable(t, testNetwork(), testLeases()), nil)
	frame := fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame()
	allocs := func(frames int) float64 {
		return testing.AllocsPerRun(10, func() {
			if err := s.Serve(context.Background(), &repeat{frame, frames}); err != nil {
				t.Fatal(err)
			}
		})
	}
	if one, many := allocs(1), allocs(1001); one != many {
		t.Errorf("%v allocations for 1 frame, %v for 1001", one, many)
	}
}
