package dns

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// upstream is a server on the loopback that answers every name with one address,
// after release is closed, behind forged replies.
type upstream struct {
	at      netip.AddrPort
	mu      sync.Mutex
	seen    [][]byte
	release chan struct{}
}

func (u *upstream) reply(query []byte) []byte {
	u.mu.Lock()
	u.seen = append(u.seen, bytes.Clone(query))
	u.mu.Unlock()
	<-u.release
	var p dnsmessage.Parser
	h, _ := p.Start(query)
	q, _ := p.Question()
	return build(h, &q, dnsmessage.RCodeSuccess, func(b *dnsmessage.Builder) error {
		return b.AResource(resource(q), dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}})
	})
}

func newUpstream(t *testing.T, release chan struct{}) *upstream {
	t.Helper()
	l, pc := pair(t)
	t.Cleanup(func() { l.Close(); pc.Close() })
	u := &upstream{at: netip.MustParseAddrPort(l.Addr().String()), release: release}
	go func() {
		buf := make([]byte, 1<<12)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			query := bytes.Clone(buf[:n])
			go func() {
				reply := u.reply(query)
				forged := bytes.Clone(reply)
				forged[0] ^= 0xff // somebody guesses the ID
				pc.WriteTo(forged, from)
				pc.WriteTo([]byte("noise"), from)
				pc.WriteTo(reply, from)
			}()
		}
	}()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if query, err := readMessage(conn); err == nil {
					writeMessage(conn, u.reply(query))
				}
			}()
		}
	}()
	return u
}

// pair opens one port for TCP and UDP.
func pair(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 { // somebody may have the port for UDP
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if pc, err := net.ListenPacket("udp4", l.Addr().String()); err == nil {
			return l, pc
		}
		l.Close()
	}
	t.Fatal("no port is free for both")
	return nil, nil
}

// released is a channel that keeps nobody.
func released() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// serve runs a server on the loopback.
func serve(t *testing.T, cfg Config) (udp, tcp string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(cfg, testTable())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.ServeUDP(ctx, pc) }()
	go func() { ended <- s.ServeTCP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != context.Canceled {
				t.Errorf("the server ended with %v", err)
			}
		}
	})
	return pc.LocalAddr().String(), l.Addr().String()
}

// ask asks once.
func ask(t *testing.T, network, server string, query []byte) []byte {
	t.Helper()
	conn, err := net.Dial(network, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // a safety net
	if network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			t.Fatal(err)
		}
		reply, err := readMessage(conn)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	if _, err := conn.Write(query); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<12)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestServer(t *testing.T) {
	u := newUpstream(t, released())
	dead := netip.MustParseAddrPort("127.0.0.1:1") // refuses
	udp, tcp := serve(t, Config{Upstreams: []netip.AddrPort{dead, u.at}})
	for network, at := range map[string]string{"udp": udp, "tcp": tcp} {
		for name, want := range map[string]string{
			"web.": "Success 10.0.0.10", "nobody.": "NameError", "www.example.com.": "Success 192.0.2.7",
		} {
			if got := told(t, ask(t, network, at, question(t, name, dnsmessage.TypeA))); got != want {
				t.Errorf("%s by %s: %q, want %q", name, network, got, want)
			}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.seen) != 2 {
		t.Fatalf("upstream was asked %d times, want twice", len(u.seen))
	}
	if bytes.Equal(u.seen[0][:2], []byte{0x12, 0x34}) && bytes.Equal(u.seen[1][:2], []byte{0x12, 0x34}) {
		t.Error("upstream is asked with the client's ID, which others on its network can know")
	}
}

// Without upstreams, or beyond the limit, a query fails at once; own names do not.
func TestServerLimit(t *testing.T) {
	udp, tcp := serve(t, Config{})
	for network, at := range map[string]string{"udp": udp, "tcp": tcp} {
		if got := told(t, ask(t, network, at, question(t, "www.example.com.", dnsmessage.TypeA))); got != "ServerFailure" {
			t.Errorf("without upstreams by %s: %q", network, got)
		}
	}
	release := make(chan struct{})
	u := newUpstream(t, release)
	udp, tcp = serve(t, Config{Upstreams: []netip.AddrPort{u.at}, InFlight: 1})
	first, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	first.Write(question(t, "slow.example.com.", dnsmessage.TypeA)) // handled before what comes later
	if got := told(t, ask(t, "udp", udp, question(t, "www.example.com.", dnsmessage.TypeA))); got != "ServerFailure" {
		t.Errorf("beyond the limit: %q", got)
	}
	if got := told(t, ask(t, "tcp", tcp, question(t, "www.example.com.", dnsmessage.TypeA))); got != "ServerFailure" {
		t.Errorf("beyond the limit by TCP: %q", got)
	}
	if got := told(t, ask(t, "udp", udp, question(t, "web.", dnsmessage.TypeA))); got != "Success 10.0.0.10" {
		t.Errorf("an own name beyond the limit: %q", got)
	}
	close(release)
	first.SetDeadline(time.Now().Add(20 * time.Second)) // a safety net
	buf := make([]byte, 1<<12)
	n, err := first.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := told(t, buf[:n]); got != "Success 192.0.2.7" {
		t.Errorf("the query that waited: %q", got)
	}
}

// Those who keep all connections open keep others waiting no longer than idle ones live.
func TestServerConns(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		ended <- NewServer(Config{Conns: 2}, testTable()).ServeTCP(context.Background(), &callers{Listener: l, from: []string{"10.0.0.10", "10.0.0.11", "10.0.0.12"}})
	}()
	defer func() { l.Close(); <-ended }()
	for range 2 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if got := told(t, ask(t, "tcp", l.Addr().String(), question(t, "web.", dnsmessage.TypeA))); got != "Success 10.0.0.10" {
		t.Errorf("a third connection: %q", got)
	}
}
