//go:build linux

package linux

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// A guest that asks our servers as fast as it can gets through what an honest one ever
// asks, and no more; another on its network is heard all the same.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 2)
	n.DNS = true
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	frames, err := f.Frames(context.Background(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer frames.Close()
	packets, conns, err := f.Listen(context.Background(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer conns.Close()
	defer packets.Close()
	one, two := wire{t, w.openPort(f, n, 0)}, wire{t, w.openPort(f, n, 1)}
	from := func(port int, dst string, dport uint16, text string) []byte {
		p := n.Ports[port]
		if dst == broadcastMAC {
			return ether(dst, p.MAC, 0x0800, udp(nowhere, everybody, 68, dport, text))
		}
		return ether(dst, p.MAC, 0x0800, udp(p.Addr, n.Router.Addr, 1000, dport, text))
	}
	awaitHello(t, two, frames, from(1, broadcastMAC, 67, "HELLO"))
	for _, c := range []struct {
		name        string
		frame, last []byte
		rate, burst int
		read        func([]byte) (int, error)
	}{
		{"DHCP", from(0, broadcastMAC, 67, "FLOOD"), from(1, broadcastMAC, 67, "LAST"), dhcpRate, dhcpBurst, frames.Read},
		{"DHCP renewals", from(0, n.Router.MAC, 67, "FLOOD"), from(1, n.Router.MAC, 67, "LAST"), dhcpRate, 0, frames.Read},
		{"DNS", from(0, n.Router.MAC, 53, "FLOOD"), from(1, n.Router.MAC, 53, "LAST"), dnsRate, dnsBurst, readUDP(packets)},
	} {
		read := make(chan int)
		go func() { // all the time, so that no buffer runs over
			got := 0
			for buf := make([]byte, 1<<16); ; got++ {
				size, err := c.read(buf)
				if err != nil || bytes.Contains(buf[:size], []byte("LAST")) {
					read <- got
					return
				}
			}
		}()
		begun := time.Now()
		for range 10 * dnsBurst {
			one.send(c.frame)
		}
		two.send(c.last)
		got := <-read
		// The kernel's clock may begin a moment earlier.
		most := c.burst + int(float64(c.rate)*(time.Since(begun)+time.Second).Seconds())
		if got < c.burst || got > most {
			t.Errorf("%s: %d of %d were heard, want %d to %d", c.name, got, 10*dnsBurst, c.burst, most)
		}
	}
}

// Who reads DHCP goes on where the bridge was down for a while, and starts anew where it
// is another.
func TestFramesOfABridge(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{Resync: -1})
	n := network(1, 1)
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{n}}
	w.apply(f, want)
	c := w.conn(roomOf(t, f, n))
	port := wire{t, w.openPort(f, n, 0)}
	hello := ether(broadcastMAC, n.Ports[0].MAC, 0x0800, udp(nowhere, everybody, 68, 67, "HELLO"))
	open := func() *going {
		t.Helper()
		frames, err := f.Frames(context.Background(), n.ID)
		w.must(err)
		t.Cleanup(func() { frames.Close() })
		return &going{t, frames}
	}
	frames := open()
	awaitHello(t, port, frames, hello)
	w.do(c, rt.Down(bridgeName))
	late := open()
	w.apply(f, want)
	awaitHello(t, port, frames, hello)
	awaitHello(t, port, late, hello)

	w.do(c, rt.DelLink(bridgeName))
	w.apply(f, want)
	for buf := make([]byte, 1<<16); ; {
		if n, err := frames.Reader.Read(buf); err == io.EOF {
			break
		} else if err != nil || n == 0 {
			t.Fatalf("of a bridge that is gone: %v, want io.EOF", err)
		}
	}
	awaitHello(t, port, open(), hello)
}

// going is what must go on.
type going struct {
	t *testing.T
	io.Reader
}

func (g *going) Read(b []byte) (int, error) {
	n, err := g.Reader.Read(b)
	if err != nil {
		g.t.Errorf("DHCP traffic ended: %v", err)
	}
	return n, err
}

func readUDP(conn net.PacketConn) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		n, _, err := conn.ReadFrom(b)
		return n, err
	}
}
