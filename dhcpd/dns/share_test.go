package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// datagrams is a socket on which datagrams come in, one after the other, and which counts
// the replies to each client by what they say.
type datagrams struct {
	net.PacketConn
	t       *testing.T
	in      []datagram
	replies map[string]int
}

type datagram struct {
	from    string
	payload []byte
}

func (d *datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(d.in) == 0 {
		return 0, nil, net.ErrClosed
	}
	next := d.in[0]
	d.in = d.in[1:]
	return copy(b, next.payload), &net.UDPAddr{IP: net.ParseIP(next.from), Port: 5353}, nil
}

func (d *datagrams) WriteTo(b []byte, to net.Addr) (int, error) {
	d.replies[to.(*net.UDPAddr).IP.String()+" "+told(d.t, b)]++
	return len(b), nil
}

func (d *datagrams) Close() error { return nil }

// heard has a server hear n times the same question of a client.
func heard(t *testing.T, s *Server, replies map[string]int, from, name string, n int) {
	t.Helper()
	d := &datagrams{t: t, replies: replies}
	for range n {
		d.in = append(d.in, datagram{from, question(t, name, dnsmessage.TypeA)})
	}
	if err := s.ServeUDP(context.Background(), d); err != nil {
		t.Fatal(err)
	}
}

// Who asks upstream as fast as it can leaves room for who asks after it, and for who
// comes after that one.
func TestPlacesUpstream(t *testing.T) {
	waiting := 0
	s := NewServer(Config{
		Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, InFlight: 16,
		Go: func(func()) { waiting++ }, // upstream never answers
	}, testTable())
	replies := map[string]int{}
	for _, c := range []struct {
		from  string
		asks  int
		taken int // all in all
	}{{"10.0.0.10", 50, 8}, {"10.0.0.11", 1, 9}, {"10.0.0.12", 50, 13}, {"10.0.0.10", 50, 13}, {"10.0.0.13", 1, 14}} {
		if heard(t, s, replies, c.from, "www.example.com.", c.asks); waiting != c.taken {
			t.Errorf("after %d questions of %s %d wait for upstream, want %d", c.asks, c.from, waiting, c.taken)
		}
	}
	want := fmt.Sprint(map[string]int{"10.0.0.10 ServerFailure": 92, "10.0.0.12 ServerFailure": 46})
	if got := fmt.Sprint(replies); got != want {
		t.Errorf("replies: %s, want %s", got, want)
	}
}

// A client asks so often and no more, whatever others do; upstream is asked ten times as
// seldom.
func TestRate(t *testing.T) {
	now := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	upstream := 0
	s := NewServer(Config{
		Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, Rate: 20, Burst: 50,
		Now: func() time.Time { return now }, Go: func(func()) { upstream++ },
	}, testTable())
	replies := map[string]int{}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	heard(t, s, replies, "10.0.0.10", "web.", 500)
	check("answers to who asks for all at once", replies["10.0.0.10 Success 10.0.0.10"], 50)
	heard(t, s, replies, "10.0.0.11", "web.", 1)
	check("answers to who asks after that", replies["10.0.0.11 Success 10.0.0.10"], 1)
	now = now.Add(time.Second)
	heard(t, s, replies, "10.0.0.10", "web.", 500)
	check("answers after a second more", replies["10.0.0.10 Success 10.0.0.10"], 70)
	heard(t, s, replies, "10.0.0.12", "www.example.com.", 500)
	check("questions upstream", upstream, 5)
	now = now.Add(time.Hour)
	heard(t, s, replies, "10.0.0.12", "www.example.com.", 500)
	check("questions upstream after an hour", upstream, 10)
	now = now.Add(-time.Hour) // somebody set the clock
	heard(t, s, replies, "10.0.0.12", "web.", 1)
	check("answers with nothing left", replies["10.0.0.12 Success 10.0.0.10"], 0)
}

// What is remembered of clients does not grow with how many there ever were.
func TestPursesAreForgotten(t *testing.T) {
	now := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	p := purses{rate: 10, burst: 10, of: map[netip.Addr]purse{}}
	for i := range 100 * few {
		now = now.Add(time.Second)
		if a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}); !p.pay(a, 10, now) || p.pay(a, 1, now) {
			t.Fatalf("client %d: a new one has the burst and no more", i)
		}
	}
	if len(p.of) > 2*few {
		t.Errorf("%d purses are remembered", len(p.of))
	}
}

// callers is a listener whose connections come from given addresses, in their order.
type callers struct {
	net.Listener
	mu   sync.Mutex
	from []string
}

type call struct {
	net.Conn
	from net.Addr
}

func (c call) RemoteAddr() net.Addr { return c.from }

func (c *callers) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.from[0]
	c.from = c.from[1:]
	return call{conn, &net.TCPAddr{IP: net.ParseIP(from), Port: 5353}}, nil
}

// One client has no more connections than it leaves free, and says no more over one of
// them than it may.
func TestPlacesOfConnections(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	s := NewServer(Config{Conns: 4, Rate: 1, Burst: 5, Now: func() time.Time { return now }}, testTable())
	ended := make(chan error)
	go func() {
		ended <- s.ServeTCP(context.Background(), &callers{Listener: l, from: []string{"10.0.0.10", "10.0.0.10", "10.0.0.10", "10.0.0.11"}})
	}()
	defer func() { l.Close(); <-ended }()
	// ask is nil where a question is answered.
	ask := func(conn net.Conn) error {
		conn.SetDeadline(time.Now().Add(20 * time.Second)) // a safety net
		if err := writeMessage(conn, question(t, "web.", dnsmessage.TypeA)); err != nil {
			return err
		}
		_, err := readMessage(conn)
		return err
	}
	var conns []net.Conn
	for i, answered := range []bool{true, true, false, true} {
		conn, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		if err := ask(conn); (err == nil) != answered {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	for i := range 3 {
		if err := ask(conns[0]); err != nil {
			t.Errorf("question %d: %v", i+3, err)
		}
	}
	if err := ask(conns[0]); err == nil {
		t.Error("a sixth question was answered")
	}
	if err := ask(conns[3]); err != nil {
		t.Errorf("another client's question: %v", err)
	}
}
