package sf_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// The raw ports lead to the console by telnet, the same ones after a restart of
// the daemon, and are gone with the machine.
func TestRawPorts(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	reopen := func(raw *sf.RawPorts) {
		t.Helper()
		if err := c.Cloud.Close(); err != nil {
			t.Fatal(err)
		}
		node := *c.Config.Node
		node.RawPorts = raw
		c.Config.Node = &node
		var err error
		if c.Cloud, err = sf.Open(ctx, c.Config); err != nil {
			t.Fatal(err)
		}
	}
	reopen(&sf.RawPorts{})
	i := newInstance(t, c, small("one"))
	port := i.Status.ConsolePort
	if port < 30000 || port > 50000 || i.Status.VDIPort == port {
		t.Fatalf("ports %d and %d", port, i.Status.VDIPort)
	}
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	greeting := make([]byte, 12)
	if _, err := io.ReadFull(in, greeting); err != nil || greeting[0] != 255 {
		t.Fatalf("% x, %v", greeting, err)
	}
	if _, err := conn.Write([]byte("who\xff\xfb\x01ami\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); err != nil || !strings.HasSuffix(line, "whoami\n") {
		t.Errorf("%q, %v", line, err)
	}
	reopen(&sf.RawPorts{})
	eventually(t, "the same port", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	deleteInstance(t, c, i.UUID)
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		conn.Close()
		t.Error("the port outlives its instance")
	}
}

// failing is a listener whose first Accept fails.
type failing struct {
	net.Listener
	failed atomic.Bool
}

func (l *failing) Accept() (net.Conn, error) {
	if !l.failed.Swap(true) {
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

// A raw port that could not take a viewer at one moment takes the next.
func TestRawPortRecovers(t *testing.T) {
	listen := func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return &failing{Listener: l}, err
	}
	c := sftest.NewWith(t, fake.Config{Now: time.Now}, func(cfg *sf.Config) { cfg.Node.RawPorts = &sf.RawPorts{Listen: listen} })
	i := newInstance(t, c, small("one"))
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", i.Status.ConsolePort), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
		t.Error(err)
	}
}
