package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/sftest"
)

// Viewers get the screen over a port of this machine, several at a time, until the
// command is interrupted.
func TestVDI(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros")
	ctx, interrupt := context.WithCancel(sftest.Context(t))
	defer interrupt()
	a, _, _ := testApp(r.url)
	out, said := io.Pipe()
	a.out = said
	status := make(chan int)
	go func() { status <- a.run(ctx, []string{"--simple", "instance", "vdi", vm}) }()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("%q, %v", address, err)
	}
	var viewers []net.Conn
	for range 2 {
		v, err := net.Dial("tcp", strings.TrimSpace(address))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		v.SetDeadline(time.Now().Add(30 * time.Second)) // a safety net
		viewers = append(viewers, v)
	}
	for _, v := range viewers {
		hello := make([]byte, 12)
		if _, err := io.ReadFull(v, hello); err != nil || string(hello) != "RFB 003.008\n" {
			t.Fatalf("%q, %v", hello, err)
		}
		if _, err := v.Write(hello); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(v, hello[:2]); err != nil || hello[0] != 1 {
			t.Errorf("kinds of security %v, %v", hello[:2], err)
		}
	}
	viewers[0].Close() // which is not the other's affair
	if _, err := viewers[1].Write([]byte{1}); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(viewers[1], make([]byte, 4)); err != nil {
		t.Error(err)
	}
	interrupt()
	if s := <-status; s != 0 {
		t.Errorf("exit %d", s)
	}
	if _, err := io.ReadAll(viewers[1]); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the viewer's end: %v", err)
	}
}

// What has no screen says so at once.
func TestVDIRefused(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros", "-V", "model=none")
	a, out, _ := testApp(r.url)
	if status := a.run(sftest.Context(t), []string{"instance", "vdi", vm}); status != 1 || !strings.Contains(out.String(), "has no screen") {
		t.Errorf("exit %d: %s", status, out)
	}
	out.Reset()
	if status := a.run(sftest.Context(t), []string{"instance", "vdi", "none"}); status != 1 || !strings.Contains(out.String(), "Resource not found") {
		t.Errorf("exit %d: %s", status, out)
	}
}

func TestSayWhere(t *testing.T) {
	for _, tt := range []struct {
		format format
		want   string
	}{
		{pretty, "Connect a VNC viewer to 127.0.0.1:5901, for example: vncviewer 127.0.0.1::5901\nInterrupt this command when you are done.\n"},
		{simple, "127.0.0.1:5901\n"},
		{asJSON, "{\n    \"address\": \"127.0.0.1:5901\"\n}\n"},
	} {
		a, out, _ := testApp("")
		a.format = tt.format
		if err := a.sayWhere(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5901}); err != nil || out.String() != tt.want {
			t.Errorf("%q, %v", out, err)
		}
	}
}

// Following a console prints its log, and what comes, once.
func TestFollowConsole(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros")
	r.run("instance", "wait", vm, "--for", "login")
	a, _, _ := testApp(r.url)
	out := newTranscript()
	a.out = out
	status := make(chan int)
	go func() { status <- a.run(sftest.Context(t), []string{"instance", "consoledata", vm, "--follow"}) }()
	out.await("login:")
	if err := r.cloud.Host.Print(vm, "more to come"); err != nil {
		t.Fatal(err)
	}
	out.await("more to come")
	r.run("instance", "poweroff", vm)
	if s := <-status; s != 0 {
		t.Errorf("exit %d", s)
	}
	if text := out.String(); strings.Count(text, "vm1 login:") != 1 || strings.Count(text, "more to come") != 1 {
		t.Errorf("printed %q", text)
	}
	if text := r.run("instance", "consoledata", vm, "-f"); !strings.HasSuffix(text, "more to come") {
		t.Errorf("of one that is off: %q", text)
	}
}

// transcript is output that can be waited for.
type transcript struct {
	mu      sync.Mutex
	changed *sync.Cond
	text    strings.Builder
}

func newTranscript() *transcript {
	t := &transcript{}
	t.changed = sync.NewCond(&t.mu)
	return t
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed.Broadcast()
	return t.text.Write(p)
}

func (t *transcript) await(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !strings.Contains(t.text.String(), s) {
		t.changed.Wait()
	}
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 0}, {"", "abc", 0}, {"abc", "abc", 3}, {"xabc", "abcd", 3}, {"abc", "bcabc", 2}, {"aaa", "aa", 2}, {"abc", "abd", 0},
	} {
		if got := overlap([]byte(tt.a), []byte(tt.b)); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
