package etcd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that goes with the test's process.
type namespace struct{ file *os.File }

func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	made := make(chan error)
	n := &namespace{}
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.file, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { n.file.Close() })
	return n
}

// dial connects from inside the namespace.
func (n *namespace) dial(address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // as above
		if err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = net.DialTimeout("tcp", address, 5*time.Second)
		}
	}()
	<-done
	return conn, err
}

// ip runs iproute2's commands in the namespace.
func (n *namespace) ip(t testing.TB, commands ...string) {
	t.Helper()
	cmd := exec.Command("nsenter", "--net="+n.path(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", commands, err, bytes.TrimSpace(out))
	}
}

// front accepts connections on loopback and carries them to an address as it is
// reached from a namespace. What is cut off there is silent here.
type front struct {
	l    net.Listener
	mu   sync.Mutex
	open map[net.Conn]struct{} // nil once closed
	wg   sync.WaitGroup
}

func newFront(t testing.TB, from *namespace, to string) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{l: l, open: map[net.Conn]struct{}{}}
	f.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.carry(in, from, to) })
		}
	})
	t.Cleanup(f.close)
	return f
}

func (f *front) address() string { return f.l.Addr().String() }

func (f *front) carry(in net.Conn, from *namespace, to string) {
	defer in.Close()
	out, err := from.dial(to)
	if err != nil {
		return
	}
	defer out.Close()
	if !f.keep(in, out) {
		return
	}
	defer f.drop(in, out)
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		wg.Go(func() {
			io.Copy(way[0], way[1]) // either end's error ends both ways
			in.Close()
			out.Close()
		})
	}
	wg.Wait()
}

func (f *front) keep(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		return false
	}
	for _, c := range conns {
		f.open[c] = struct{}{}
	}
	return true
}

func (f *front) drop(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		delete(f.open, c)
	}
}

func (f *front) close() {
	f.l.Close()
	f.mu.Lock()
	for c := range f.open {
		c.Close()
	}
	f.open = nil
	f.mu.Unlock()
	f.wg.Wait()
}

// pause rests between two looks at something that is not ours.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
