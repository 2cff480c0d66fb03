//go:build linux

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// A guest probes every address of the host by TCP, UDP and ICMP, some with
// servers behind. Nothing may come back: neither an answer nor a refusal. What
// would show an answer comes last, over the same way: an echo from the internet.
func TestScanOfHost(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 1)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	hosts := []netip.Addr{
		hostUplink.Addr(), hostLocal.Addr(), netfab.First(outside.Prefix),
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.1.2.3"), netip.MustParseAddr("169.254.7.7"),
	}
	c := w.conn(w.host)
	w.do(c, rt.AddAddr(3, netip.MustParsePrefix("169.254.7.7/16")))
	for _, proto := range []string{"tcp", "udp"} {
		w.listen(proto, 22)
	}
	g := w.guest(f, n, 0)
	// The world works, and the servers answer those who may ask.
	ping(t, g.NS, far.Addr(), 56)
	ping(t, w.internet, hostUplink.Addr(), 56)
	if err := dialTCP(w.internet, netip.AddrPortFrom(hostUplink.Addr(), 22), patience); err != nil {
		t.Fatalf("the host's server does not serve the internet: %v", err)
	}

	capture := sniff(t, g.NS, "eth0")
	conn, err := rawICMP(g.NS)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	out := listenUDP(t, g.NS, "0.0.0.0:0")
	for _, host := range hosts {
		if host.IsLoopback() {
			continue // the guest's own kernel takes that for itself: by hand, below
		}
		conn.WriteTo(echo(8, []byte("scan")), &net.IPAddr{IP: host.AsSlice()})
		for _, port := range []uint16{22, 23, 53, 111} {
			out.WriteToUDPAddrPort([]byte("scan"), netip.AddrPortFrom(host, port))
			sendSYN(t, g.NS, netip.AddrPortFrom(host, port))
		}
	}
	wire := wire{t, g.port}
	for _, host := range hosts { // frames that no kernel would send
		me := n.Ports[0]
		wire.send(ether(n.Router.MAC, me.MAC, 0x0800, udp(me.Addr, host, 9, 22, "scan")))
		wire.send(ether(n.Router.MAC, me.MAC, 0x0800, ipv4(1, me.Addr, host, nil, echo(8, []byte("scan")))))
	}
	ping(t, g.NS, far.Addr(), 57)
	for _, packet := range capture() {
		if src, ok := netip.AddrFromSlice(packet[26:30]); ok && slices.Contains(hosts, src) {
			t.Errorf("the host answered from %s: % x", src, packet[14:])
		}
	}
}

// listen opens a server on all of the host's addresses.
func (w *world) listen(proto string, port int) {
	w.t.Helper()
	err := w.host.Do(func() error {
		addr := fmt.Sprintf("0.0.0.0:%d", port)
		if proto == "tcp" {
			l, err := net.Listen("tcp4", addr)
			if err == nil {
				w.t.Cleanup(func() { l.Close() })
			}
			return err
		}
		c, err := net.ListenPacket("udp4", addr)
		if err == nil {
			w.t.Cleanup(func() { c.Close() })
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// dialTCP connects from a namespace.
func dialTCP(ns *netns.NS, to netip.AddrPort, wait time.Duration) error {
	fd, err := connect(ns, to)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds, int(wait/time.Millisecond)); n != 1 || err != nil {
		return fmt.Errorf("connect to %s: no answer (%v)", to, err)
	}
	if code, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); code != 0 {
		return fmt.Errorf("connect to %s: %w", to, syscall.Errno(code))
	}
	return nil
}

// sendSYN begins a connection and does not wait for an answer.
func sendSYN(t *testing.T, ns *netns.NS, to netip.AddrPort) {
	t.Helper()
	fd, err := connect(ns, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}

func connect(ns *netns.NS, to netip.AddrPort) (fd int, err error) {
	err = ns.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
		if errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
		return err
	})
	return fd, err
}

// sniff captures IPv4 packets that arrive on a device; the result returns them.
func sniff(t *testing.T, ns *netns.NS, device string) func() [][]byte {
	t.Helper()
	capture := sniffAll(t, ns, device)
	return func() [][]byte {
		return slices.DeleteFunc(capture(), func(p []byte) bool { return len(p) < 34 || !bytes.Equal(p[12:14], []byte{8, 0}) })
	}
}

// sniffAll captures all frames that arrive on a device.
func sniffAll(t *testing.T, ns *netns.NS, device string) func() [][]byte {
	t.Helper()
	var fd int
	if err := ns.Do(func() error {
		index, err := ifIndex(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: int(index)})
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func() (packets [][]byte) {
		for {
			buf := make([]byte, 1<<16)
			n, err := unix.Read(fd, buf)
			if err != nil {
				return packets
			}
			packets = append(packets, buf[:n])
		}
	}
}

// Guests get out beside somebody else's firewall that drops what is forwarded,
// also after it was reloaded; when nothing is wanted, its rules are as before.
func TestForeignForwardDrop(t *testing.T) {
	nftPath := need.Program(t, "nft", "nftables")
	for _, ruleset := range []string{
		"table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy drop; counter;\n }\n }",
		"table inet firewalld {\n chain filter_FORWARD {\n type filter hook forward priority filter + 10; policy accept; ct state established,related accept; reject;\n }\n }",
		"table inet mine {\n chain passage {\n type filter hook forward priority -300; policy drop; ct state established accept;\n }\n }",
	} {
		t.Run(strings.Fields(ruleset)[2], func(t *testing.T) {
			w := newWorld(t)
			w.nft(nftPath, "-f", "-", ruleset)
			before := w.nft(nftPath, "-s", "list ruleset", "")
			f := w.fabric(Config{})
			one, two := network(1, 1), network(2, 1)
			two.Gateway.Floating = []netfab.Floating{{Outside: netip.MustParseAddr("192.168.20.100"), Inside: two.Ports[0].Addr}}
			want := netfab.Desired{Outside: outside, Networks: []netfab.Network{one, two}}
			w.apply(f, want)
			a, b := w.guest(f, one, 0), w.guest(f, two, 0)
			ping(t, a.NS, far.Addr(), 56)
			ping(t, b.NS, far.Addr(), 56)
			ping(t, a.NS, netip.MustParseAddr("192.168.20.100"), 56) // router to router, over the bridge

			w.nft(nftPath, "-f", "-", "flush ruleset\n"+ruleset) // a reload takes our own table too
			f.outside.since = time.Time{}
			w.apply(f, want)
			ping(t, a.NS, far.Addr(), 58)

			w.apply(f, netfab.Desired{})
			if after := w.nft(nftPath, "-s", "list ruleset", ""); after != before {
				t.Errorf("rules afterwards:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// nft runs nft(8) on the host.
func (w *world) nft(path string, args ...string) string {
	w.t.Helper()
	var out []byte
	err := w.host.Do(func() (err error) {
		fields := append(strings.Fields(args[0]), strings.Fields(args[1])...)
		cmd := exec.Command(path, fields...)
		cmd.Stdin = strings.NewReader(args[2])
		out, err = runHere(cmd)
		return err
	})
	if err != nil {
		w.t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// runHere runs a process from the calling thread, whose namespace it inherits.
func runHere(cmd *exec.Cmd) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return complaint.Bytes(), err
	}
	return out.Bytes(), nil
}

// Floating addresses: from the world, from guests of the same network, from the
// guest itself, from another network; and what the other side sees.
func TestFloating(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	one, two := network(1, 2), network(2, 1)
	float := netip.MustParseAddr("192.168.20.100")
	one.Gateway.Floating = []netfab.Floating{{Outside: float, Inside: one.Ports[0].Addr}}
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{one, two}}
	w.apply(f, want)
	a, b, c := w.guest(f, one, 0), w.guest(f, one, 1), w.guest(f, two, 0)
	serve(t, a.NS, a.addr, 7)
	serve(t, w.internet, far.Addr(), 7)
	// The world routes the block to the host.
	w.do(w.conn(w.internet), rt.AddRoute(outside.Prefix, hostUplink.Addr(), 2))

	for _, test := range []struct {
		name string
		ns   *netns.NS
		sees string
	}{
		{"the host", w.host, netfab.First(outside.Prefix).String()},
		{"the internet", w.internet, firstHop.Addr().String()},
		{"another guest of the network", b.NS, one.Gateway.Addr.String()},
		{"the guest itself", a.NS, one.Gateway.Addr.String()},
		{"a guest of another network", c.NS, two.Gateway.Addr.String()},
	} {
		if who := whoAmI(t, test.ns, float, 7); who != test.sees {
			t.Errorf("%s is seen as %q, want %q", test.name, who, test.sees)
		}
	}
	// The world may begin with the floating address only.
	if err := tryPing(w.internet, one.Gateway.Addr, 56, 300*time.Millisecond); err == nil {
		t.Error("the internet began a conversation with a router")
	}
	// Gone means gone, and the guest looks like the router again.
	want.Networks[0].Gateway = &netfab.Gateway{Addr: one.Gateway.Addr, NAT: true}
	w.apply(f, want)
	if err := tryPing(w.host, float, 56, 300*time.Millisecond); err == nil {
		t.Error("the floating address answers after it is gone")
	}
	ping(t, a.NS, far.Addr(), 56)
}

// Without NAT only the owner of a floating address gets out, and only as that.
func TestNoNAT(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 2)
	float := netip.MustParseAddr("192.168.20.100")
	n.Gateway.NAT = false
	n.Gateway.Floating = []netfab.Floating{{Outside: float, Inside: n.Ports[0].Addr}}
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	a, b := w.guest(f, n, 0), w.guest(f, n, 1)
	ping(t, b.NS, n.Router.Addr, 56)
	capture := sniff(t, w.host, f.names.outside())
	if err := tryPing(b.NS, far.Addr(), 56, 300*time.Millisecond); err == nil {
		t.Error("a guest without a floating address got out")
	}
	ping(t, a.NS, far.Addr(), 56)
	for _, p := range capture() {
		if src, _ := netip.AddrFromSlice(p[26:30]); n.Prefix.Contains(src) {
			t.Errorf("an inside address got out: % x", p[14:])
		}
	}
}

// Packets of a guest's whole MTU pass; beyond a narrower link its sender is told.
func TestMTU(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 2)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	a, b := w.guest(f, n, 0), w.guest(f, n, 1)
	const headers = 28 // IPv4 and ICMP
	ping(t, a.NS, b.addr, 1450-headers)
	ping(t, a.NS, far.Addr(), 1450-headers)
	ping(t, a.NS, far.Addr(), 4000) // in fragments
	// The host's uplink gets narrower than the guest.
	h, i := w.conn(w.host), w.conn(w.internet)
	w.do(h, rt.SetLink(rt.Link{Index: 2, Name: "eth0", MTU: 1400}))
	w.do(i, rt.SetLink(rt.Link{Index: 2, Name: "eth0", MTU: 1400}))
	ping(t, a.NS, far.Addr(), 1450-headers) // the kernel of the guest sends with DF: it must be told, and learn
	if mtu := pathMTU(t, a.NS, far.Addr()); mtu != 1400 {
		t.Errorf("the guest believes in a path MTU of %d, want 1400", mtu)
	}
}

// pathMTU asks the kernel of a namespace what it has learned.
func pathMTU(t *testing.T, ns *netns.NS, to netip.Addr) (mtu int) {
	t.Helper()
	if err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: to.As4()}); err != nil {
			return err
		}
		mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return mtu
}
