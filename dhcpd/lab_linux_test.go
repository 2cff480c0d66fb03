package dhcpd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// lab is two network namespaces of the test's own: a host with a bridge that has
// no address, and a guest whose eth0 is a port of it.
type lab struct {
	host, guest string
}

var labs atomic.Int32

func newLab(t testing.TB) *lab {
	t.Helper()
	need.Root(t)
	need.Program(t, "ip", "iproute2")
	sweep(t)
	id := fmt.Sprintf("sfdhcp-%d-%d", os.Getpid(), labs.Add(1))
	l := &lab{host: id + "h", guest: id + "g"}
	for _, name := range []string{l.host, l.guest} {
		run(t, "ip", "netns", "add", name)
		t.Cleanup(func() { run(t, "ip", "netns", "del", name) })
	}
	run(t, "ip", "-n", l.host, "link", "add", "br0", "address", routerMAC.String(), "type", "bridge")
	run(t, "ip", "-n", l.host, "link", "add", "port0", "type", "veth", "peer", "name", "eth0", "netns", l.guest)
	run(t, "ip", "-n", l.host, "link", "set", "port0", "master", "br0", "up")
	run(t, "ip", "-n", l.host, "link", "set", "br0", "up")
	run(t, "ip", "-n", l.guest, "link", "set", "eth0", "address", guestMAC.String(), "up")
	// Stands for ARP, which the router answers, wherever it is.
	run(t, "ip", "-n", l.guest, "neigh", "add", router.String(), "lladdr", routerMAC.String(), "dev", "eth0", "nud", "permanent")
	l.ready(t)
	return l
}

// ready waits until frames pass: the kernel sees a carrier, and has a bridge
// forward, some time after a device was set up, and drops what is sent before.
func (l *lab) ready(t testing.TB) {
	t.Helper()
	give := time.Now().Add(safety)
	for _, want := range []struct{ ns, device, state string }{
		{l.host, "port0", "state forwarding"}, {l.host, "br0", "state UP"}, {l.guest, "eth0", "state UP"},
	} {
		for {
			out, err := exec.Command("ip", "-d", "-n", want.ns, "link", "show", want.device).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", want.device, err, out)
			}
			if strings.Contains(string(out), want.state) {
				break
			}
			if time.Now().After(give) {
				t.Fatalf("%s does not get to %q:\n%s", want.device, want.state, out)
			}
		}
	}
}

// sweep removes the labs of test processes that were killed, which their names tell.
func sweep(t testing.TB) {
	t.Helper()
	names, _ := filepath.Glob("/run/netns/sfdhcp-*")
	for _, path := range names {
		name := filepath.Base(path)
		pid := strings.Split(name, "-")[1]
		if _, err := os.Stat("/proc/" + pid); err == nil {
			continue
		}
		left, _ := exec.Command("ip", "netns", "pids", name).Output()
		for _, orphan := range strings.Fields(string(left)) {
			if n, err := strconv.Atoi(orphan); err == nil {
				_ = unix.Kill(n, unix.SIGKILL)
			}
		}
		// Another test process may be sweeping too.
		_ = exec.Command("ip", "netns", "del", name).Run()
	}
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// within calls f on a thread in the named namespace. The thread is not given back.
func within(name string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-result
}

// listen opens the host's bridge as the product does.
func (l *lab) listen(t testing.TB) io.ReadWriteCloser {
	t.Helper()
	var conn io.ReadWriteCloser
	if err := within(l.host, func() error {
		bridge, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}
		conn, err = Listen(bridge.Index)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return conn
}

// raw opens the guest's eth0: reads every IPv4 frame that arrives, writes any.
func (l *lab) raw(t testing.TB) *os.File {
	t.Helper()
	var f *os.File
	if err := within(l.guest, func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "eth0")
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: eth0.Index})
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tap counts the answers to requests that were unicast.
type tap struct {
	io.ReadWriteCloser
	unicast  bool // the last frame read was
	answered atomic.Int32
}

func (p *tap) Read(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Read(b)
	p.unicast = n > 0 && b[0]&1 == 0
	return n, err
}

func (p *tap) Write(b []byte) (int, error) {
	if p.unicast {
		p.answered.Add(1)
	}
	return p.ReadWriteCloser.Write(b)
}

// start serves the bridge until the test ends.
func (l *lab) start(t testing.TB, n Network, leases []Lease) (*Server, *tap) {
	t.Helper()
	s := NewServer(mustTable(t, n, leases), nil)
	ctx, cancel := context.WithCancel(context.Background())
	conn := &tap{ReadWriteCloser: l.listen(t)}
	ended := serve(ctx, s, conn)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, conn
}
