//go:build linux

package linux

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
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

func readUDP(conn net.PacketConn) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		n, _, err := conn.ReadFrom(b)
		return n, err
	}
}
