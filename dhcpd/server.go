package dhcpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
)

// Server answers frames from the table of the moment. Make one with [NewServer].
// Its methods are safe for concurrent use.
type Server struct {
	table  atomic.Pointer[Table]
	log    *slog.Logger
	counts [verdicts]atomic.Uint64
	failed atomic.Uint64
}

// Stats counts frames since the server was made.
type Stats struct {
	// NotDHCP to Released count frames by Verdict.
	NotDHCP, Spoofed, Unknown, Elsewhere uint64
	Offered, Acked, Refused, Informed    uint64
	Declined, Released                   uint64
	// Failed counts replies that could not be sent; their clients ask again.
	Failed uint64
}

// NewServer returns a server that answers from t, which must not be nil. A nil log
// discards. Verdicts are logged at debug level only, so that no client can fill a
// disk; they are all counted. The first of a row of replies that cannot be sent is
// a warning.
func NewServer(t *Table, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{log: log}
	s.Set(t)
	return s
}

// Set makes t, which must not be nil, the table that the next frame is answered from.
func (s *Server) Set(t *Table) {
	if t == nil {
		panic("dhcpd: nil Table")
	}
	s.table.Store(t)
}

// Table returns the table in use.
func (s *Server) Table() *Table { return s.table.Load() }

// Stats returns the counters. They are read one by one, not as one snapshot.
func (s *Server) Stats() Stats {
	n := func(v Verdict) uint64 { return s.counts[v].Load() }
	return Stats{
		NotDHCP: n(NotDHCP), Spoofed: n(Spoofed), Unknown: n(Unknown), Elsewhere: n(Elsewhere),
		Offered: n(Offered), Acked: n(Acked), Refused: n(Refused), Informed: n(Informed),
		Declined: n(Declined), Released: n(Released), Failed: s.failed.Load(),
	}
}

// maxFrame is more than any Ethernet frame that can hold a request.
const maxFrame = 2048

// Serve reads frames from conn, one a Read, and writes replies to it, one a Write,
// until conn ends (nil), ctx does (its cause) or reading fails. It always closes
// conn. It may run on several conns of the same network at the same time.
func (s *Server) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	defer conn.Close()
	// Closing is what interrupts a Read.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	frame, reply := make([]byte, maxFrame), make([]byte, 0, maxFrame)
	failing := false
	for {
		n, err := conn.Read(frame)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		var verdict Verdict
		reply, verdict = s.table.Load().AppendAnswer(reply[:0], frame[:n])
		s.note(ctx, verdict, frame[:n])
		if len(reply) == 0 {
			continue
		}
		_, err = conn.Write(reply)
		if err != nil && ctx.Err() == nil {
			s.failed.Add(1)
			if !failing {
				s.log.WarnContext(ctx, "dhcp: replies cannot be sent", "client", source(frame[:n]), "error", err)
			}
		}
		failing = err != nil
	}
}

// note counts a verdict and logs it. The level is asked first: nothing is
// formatted, and so nothing allocated, for a record that nobody wants.
func (s *Server) note(ctx context.Context, verdict Verdict, frame []byte) {
	s.counts[verdict].Add(1)
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.DebugContext(ctx, "dhcp: request", "client", source(frame), "verdict", verdict.String())
	}
}

// source returns a frame's source address for the log.
func source(frame []byte) string {
	if len(frame) < 12 {
		return ""
	}
	return net.HardwareAddr(frame[6:12]).String()
}
