//go:build linux

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// patience is a safety net: what takes longer will never come.
const patience = 5 * time.Second

// openTap opens a tap as a hypervisor does, ready for Read and Write of frames.
func openTap(t testing.TB, ns *netns.NS, name string) *os.File {
	t.Helper()
	var fd int
	err := ns.Do(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		t.Fatalf("open tap %s: %v", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { file.Close() })
	return file
}

// openPort opens the tap of a port.
func (w *world) openPort(f netfab.Fabric, n netfab.Network, port int) *os.File {
	w.t.Helper()
	at := f.Attachment(n.ID, n.VNI, n.Ports[port].ID)
	ns, err := netns.Open(at.NetNS)
	if err != nil {
		w.t.Fatal(err)
	}
	defer ns.Close()
	return openTap(w.t, ns, at.Tap)
}

// guest is a kernel of its own (a namespace) behind a port, connected by a pump
// of frames between the port's tap and a tap that is the guest's eth0.
type guest struct {
	*netns.NS
	addr netip.Addr
	port *os.File
}

func (w *world) guest(f netfab.Fabric, n netfab.Network, port int) *guest {
	w.t.Helper()
	g := &guest{NS: newNS(w.t), addr: n.Ports[port].Addr, port: w.openPort(f, n, port)}
	inner := openTap(w.t, g.NS, "eth0")
	c := w.conn(g.NS)
	l, err := c.Link("eth0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(c, rt.SetLink(rt.Link{Name: "lo", Up: true}),
		rt.SetLink(rt.Link{Index: l.Index, Name: "eth0", MAC: mac(n.Ports[port].MAC), MTU: n.MTU, Up: true}),
		rt.AddAddr(l.Index, netip.PrefixFrom(g.addr, n.Prefix.Bits())),
		rt.SetDefault(l.Index, n.Router.Addr))
	go pump(inner, g.port)
	go pump(g.port, inner)
	return g
}

// pump copies frames until either side is closed.
func pump(from, to *os.File) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// listenUDP opens a UDP socket in a namespace.
func listenUDP(t testing.TB, ns *netns.NS, addr string) *net.UDPConn {
	t.Helper()
	var conn net.PacketConn
	if err := ns.Do(func() (err error) { conn, err = net.ListenPacket("udp4", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// ping sends echo requests until one is answered. It is patient: for what must
// work. It returns who answered and with how large a payload.
func ping(t testing.TB, ns *netns.NS, to netip.Addr, size int) {
	t.Helper()
	if err := tryPing(ns, to, size, patience); err != nil {
		t.Errorf("ping %s: %v", to, err)
	}
}

// tryPing waits that long for an answer.
func tryPing(ns *netns.NS, to netip.Addr, size int, wait time.Duration) error {
	conn, err := rawICMP(ns)
	if err != nil {
		return err
	}
	defer conn.Close()
	payload := bytes.Repeat([]byte("x"), size)
	var buf [1 << 16]byte
	for end := time.Now().Add(wait); time.Now().Before(end); {
		if _, err := conn.WriteTo(echo(8, payload), &net.IPAddr{IP: to.AsSlice()}); err != nil && !errors.Is(err, unix.EMSGSIZE) {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // then send again
		for {
			n, from, err := conn.ReadFrom(buf[:])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if n == 8+size && buf[0] == 0 && from.String() == to.String() {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer within %s", wait)
}

func rawICMP(ns *netns.NS) (conn net.PacketConn, err error) {
	err = ns.Do(func() error {
		conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	return conn, err
}

// echo is an ICMP echo message.
func echo(kind byte, payload []byte) []byte {
	m := append([]byte{kind, 0, 0, 0, 0x5f, 0x5f, 0, 1}, payload...)
	sum := checksum(m)
	m[2], m[3] = byte(sum>>8), byte(sum)
	return m
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// serve answers every UDP datagram to an address with the sender's address.
func serve(t testing.TB, ns *netns.NS, addr netip.Addr, port int) {
	t.Helper()
	conn := listenUDP(t, ns, netip.AddrPortFrom(addr, uint16(port)).String())
	go func() {
		buf := make([]byte, 1<<16)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort([]byte(from.Addr().String()), from)
		}
	}()
}

// whoAmI asks such a server what it takes the asker for.
func whoAmI(t testing.TB, ns *netns.NS, server netip.Addr, port int) string {
	t.Helper()
	conn := listenUDP(t, ns, "0.0.0.0:0")
	defer conn.Close()
	to := netip.AddrPortFrom(server, uint16(port))
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		conn.WriteToUDPAddrPort([]byte("who am I?"), to)
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // then ask again
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err == nil && from == to {
			return string(buf[:n])
		}
	}
	t.Errorf("%s does not answer", to)
	return ""
}

// answered sends datagrams from a socket until one is answered, or the wait ends.
func answered(conn *net.UDPConn, server netip.AddrPort, wait time.Duration) bool {
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		conn.WriteToUDPAddrPort([]byte("still there?"), server)
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // then ask again
		if _, from, err := conn.ReadFromUDPAddrPort(buf); err == nil && from == server {
			return true
		}
	}
	return false
}
