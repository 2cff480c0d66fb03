package dns

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// Config describes a server. The zero Config answers from the table alone.
type Config struct {
	// Upstreams are asked, in this order, what the table does not know.
	Upstreams []netip.AddrPort
	// InFlight is how many questions may wait for upstreams at once, and as many of one
	// client as there is room left; what is beyond fails at once. 0 means 128.
	InFlight int
	// Conns is how many TCP connections may be open at once; others wait. A client that
	// has as many as there is room left gets no more. 0 means 16.
	Conns int
	// Rate is how many questions a second a client may ask, and Burst how many on top of
	// that at once. One that is asked upstream counts as ten. What is beyond gets no
	// reply by UDP, and ends a TCP connection. 0 means 1000 and 5000.
	Rate, Burst int
	// Now is the clock of Rate; nil means time.Now.
	Now func() time.Time
	// Go runs a function in the background; nil means a goroutine.
	Go func(func())
	// Rand is where query IDs come from; nil means crypto/rand.
	Rand io.Reader
	// Logger is told what fails, at level Debug: guests must not fill a disk. Nil
	// discards.
	Logger *slog.Logger
}

// Server answers queries from the table of the moment. Its methods are safe for
// concurrent use. Make one with [NewServer].
type Server struct {
	cfg    Config
	table  atomic.Pointer[Table]
	purses purses
	asking *places
	talks  *places
	conns  chan struct{} // to wait for a place
}

// NewServer returns a server that answers from t, which must not be nil.
func NewServer(cfg Config, t *Table) *Server {
	if cfg.InFlight == 0 {
		cfg.InFlight = 128
	}
	if cfg.Conns == 0 {
		cfg.Conns = 16
	}
	if cfg.Rate == 0 {
		cfg.Rate = 1000
	}
	if cfg.Burst == 0 {
		cfg.Burst = 5000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Go == nil {
		cfg.Go = func(f func()) { go f() }
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, asking: newPlaces(cfg.InFlight), talks: newPlaces(cfg.Conns), conns: make(chan struct{}, cfg.Conns),
		purses: purses{rate: float64(cfg.Rate), burst: float64(cfg.Burst), of: map[netip.Addr]purse{}},
	}
	s.Set(t)
	return s
}

// Set makes t, which must not be nil, the table that the next query is answered from.
func (s *Server) Set(t *Table) {
	if t == nil {
		panic("dns: nil Table")
	}
	s.table.Store(t)
}

// ServeUDP answers queries until conn is closed (nil), ctx ends (its cause) or
// reading fails. It always closes conn.
func (s *Server) ServeUDP(ctx context.Context, conn net.PacketConn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	buf := make([]byte, 1<<12)
	for {
		n, from, err := conn.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		s.hear(ctx, conn, from, buf[:n])
	}
}

// hear answers a datagram, or has it answered.
func (s *Server) hear(ctx context.Context, conn net.PacketConn, from net.Addr, query []byte) {
	client := clientOf(from)
	reply, verdict := s.decide(client, query)
	switch verdict {
	case Answered:
		s.send(conn, from, reply)
	case Forwarded:
		query = append([]byte(nil), query...)
		if !s.asking.take(client) {
			s.send(conn, from, failure(query))
			return
		}
		s.cfg.Go(func() {
			defer s.asking.leave(client)
			s.send(conn, from, s.ask(ctx, "udp", query))
		})
	}
}

// decide is what the table says to a client's query, and to ignore it where the client
// asks too much.
func (s *Server) decide(client netip.Addr, query []byte) ([]byte, Verdict) {
	now := s.cfg.Now()
	if !s.purses.pay(client, 1, now) {
		return nil, Ignored
	}
	reply, verdict := s.table.Load().Answer(query)
	if verdict == Forwarded && !s.purses.pay(client, upstreamPrice-1, now) {
		return nil, Ignored
	}
	return reply, verdict
}

// send sends a reply; one that is lost is asked for again.
func (s *Server) send(conn net.PacketConn, to net.Addr, reply []byte) {
	if len(reply) == 0 {
		return
	}
	if _, err := conn.WriteTo(reply, to); err != nil {
		s.cfg.Logger.Debug("dns: reply not sent", "client", to.String(), "error", err)
	}
}

// ask returns an upstream's reply, or that there is none.
func (s *Server) ask(ctx context.Context, network string, query []byte) []byte {
	reply, err := s.forward(ctx, network, query)
	if err != nil {
		s.cfg.Logger.Debug("dns: no answer", "error", err)
		return failure(query)
	}
	return reply
}

// ServeTCP answers connections until l is closed (nil), ctx ends (its cause) or
// accepting fails. It always closes l.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		select {
		case s.conns <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		conn, err := l.Accept()
		if err != nil {
			<-s.conns
		}
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		client := clientOf(conn.RemoteAddr())
		if !s.talks.take(client) {
			conn.Close()
			<-s.conns
			continue
		}
		s.cfg.Go(func() {
			defer func() { s.talks.leave(client); <-s.conns }()
			s.converse(ctx, client, conn)
		})
	}
}

// What one connection may take.
const (
	idle      = 5 * time.Second // for a query to come, and for its reply to be taken
	longest   = time.Minute     // in all
	questions = 100
)

// converse answers the queries of one connection, one after the other.
func (s *Server) converse(ctx context.Context, client netip.Addr, conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for range questions {
		conn.SetDeadline(time.Now().Add(idle))
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		reply, verdict := s.decide(client, query)
		if verdict == Forwarded {
			if s.asking.take(client) {
				reply = s.ask(ctx, "tcp", query)
				s.asking.leave(client)
			} else {
				reply = failure(query)
			}
		}
		conn.SetDeadline(time.Now().Add(idle))
		if verdict == Ignored || writeMessage(conn, reply) != nil {
			return
		}
	}
}
