package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// serveConsole serves a cloud whose instance has the near end of a pipe as its
// console, and returns the far end, the machine's.
func serveConsole(t *testing.T) (c *conversation, url string, machine net.Conn) {
	c = withObjects(t)
	near, machine := net.Pipe()
	machine.SetDeadline(time.Now().Add(30 * time.Second)) // whoever waits for it, as deadline
	c.server.cloud.(*fakeCloud).port = func() io.ReadWriteCloser { return near }
	h := httptest.NewServer(c.server)
	t.Cleanup(h.Close)
	t.Cleanup(func() { machine.Close() })
	return c, h.URL, machine
}

func instanceOf(c *conversation) string {
	return strings.TrimPrefix(concrete(c, "/instances/{instance_uuid}"), "/instances/")
}

func dialClient(t *testing.T, url, namespace string) *client.Client {
	cl, err := client.New(client.Config{URL: url, Namespace: namespace, Key: "secret-of-" + namespace})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// comes waits for what a goroutine is to send or to close, and fails where that does not
// happen, since a test that hangs says nothing.
func comes[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-deadline(t).Done():
		t.Fatalf("%s: it does not happen", what)
	}
	return v
}

// give sends to a goroutine likewise.
func give[T any](t *testing.T, what string, to chan<- T, v T) {
	t.Helper()
	select {
	case to <- v:
	case <-deadline(t).Done():
		t.Fatalf("%s: nobody asks for it", what)
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestConsoleBothWays(t *testing.T) {
	c, url, machine := serveConsole(t)
	console, err := dialClient(t, url, "demo").Console(deadline(t), instanceOf(c))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	all := []byte{0, 1, 0x1b, 0xff, '\r', '\n', 0x1d}
	go machine.Write(all)
	got := make([]byte, len(all))
	if _, err := io.ReadFull(console, got); err != nil || !bytes.Equal(got, all) {
		t.Errorf("from the machine came %q, %v", got, err)
	}
	if _, err := console.Write(all); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(machine, got); err != nil || !bytes.Equal(got, all) {
		t.Errorf("the machine got %q, %v", got, err)
	}
	go func() { machine.Write([]byte("bye")); machine.Close() }()
	if rest, err := io.ReadAll(console); err != nil || string(rest) != "bye" {
		t.Errorf("at the end came %q, %v", rest, err)
	}
}

// When the viewer hangs up, the server lets go of the machine's port.
func TestConsoleViewerLeaves(t *testing.T) {
	c, url, machine := serveConsole(t)
	console, err := dialClient(t, url, "demo").Console(deadline(t), instanceOf(c))
	if err != nil {
		t.Fatal(err)
	}
	console.Close()
	if _, err := machine.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the machine's side: %v", err)
	}
}

// A viewer who does not read never stops the machine from writing; later there is
// a word about what is missing.
func TestConsoleSlowViewer(t *testing.T) {
	c, url, machine := serveConsole(t)
	ctx := deadline(t)
	ws, _, err := websocket.Dial(ctx, url+"/instances/"+instanceOf(c)+"/console", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token("demo")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	machine.SetDeadline(time.Now().Add(30 * time.Second)) // a safety net
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for range 512 { // 32 MiB, more than sockets and buffers hold
		if _, err := machine.Write(chunk); err != nil {
			t.Fatalf("the machine could not write: %v", err)
		}
	}
	machine.Close()
	var got bytes.Buffer
	for err == nil {
		var p []byte
		_, p, err = ws.Read(ctx)
		got.Write(p)
	}
	if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("it ended with %v", err)
	}
	if !strings.Contains(got.String(), "bytes of output were dropped: this viewer was too slow") || got.Len() >= 512*len(chunk) {
		t.Errorf("%d bytes came, without a word", got.Len())
	}
}

// Deleting the key closes what was opened with it.
func TestConsoleRevoked(t *testing.T) {
	c, url, _ := serveConsole(t)
	sleeping, tick := make(chan struct{}, 1), make(chan struct{})
	c.server.Sleep = func(ctx context.Context, _ time.Duration) error {
		sleeping <- struct{}{}
		select {
		case <-tick:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	console, err := dialClient(t, url, "demo").Console(deadline(t), instanceOf(c))
	if err != nil {
		t.Fatal(err)
	}
	comes(t, "a pause before the first check", sleeping)
	give(t, "the first check", tick, struct{}{})
	comes(t, "a pause after a check that has found nothing wrong", sleeping)
	if err := c.server.cloud.DeleteKey(t.Context(), "demo", "test"); err != nil {
		t.Fatal(err)
	}
	give(t, "the second check", tick, struct{}{})
	if _, err := io.ReadAll(console); err == nil || !strings.Contains(err.Error(), "the key that opened this console was removed") {
		t.Errorf("it ended with %v", err)
	}
}

// A server that is told to stop hangs up, so that it can.
func TestConsoleServerStops(t *testing.T) {
	c, _, _ := serveConsole(t)
	base, stop := context.WithCancel(t.Context())
	h := httptest.NewUnstartedServer(c.server)
	h.Config.BaseContext = func(net.Listener) context.Context { return base }
	h.Start()
	t.Cleanup(h.Close)
	console, err := dialClient(t, h.URL, "demo").Console(deadline(t), instanceOf(c))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := io.ReadAll(console); err == nil || !strings.Contains(err.Error(), "the server stops") {
		t.Errorf("it ended with %v", err)
	}
}

func TestConsoleRefusals(t *testing.T) {
	c, url, _ := serveConsole(t)
	id := instanceOf(c)
	ctx := deadline(t)
	if _, err := dialClient(t, url, "other").Console(ctx, id); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("a stranger: %v", err)
	}
	c.server.cloud.(*fakeCloud).faults["Console"] = spec.Errorf(spec.ErrConflict, "the instance is off")
	_, err := dialClient(t, url, "demo").Console(ctx, id)
	if !errors.Is(err, spec.ErrConflict) || err.Error() != "the instance is off" {
		t.Errorf("off: %v", err)
	}
	delete(c.server.cloud.(*fakeCloud).faults, "Console")
	_, w, err := websocket.Dial(ctx, url+"/instances/"+id+"/console", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token("demo")}, "Origin": {"http://evil.example"}}})
	if err == nil || w == nil || w.StatusCode != http.StatusForbidden {
		t.Errorf("a page of somebody else's: %v", err)
	}
	if _, w, err := websocket.Dial(ctx, url+"/instances/"+id+"/console", nil); err == nil || w == nil || w.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: %v", err)
	}
}

func TestBacklog(t *testing.T) {
	b := newBacklog(10)
	b.add([]byte("12345678"))
	b.add([]byte("abcd"))
	got, err := b.take()
	if want := "\r\n[5 bytes of output were dropped: this viewer was too slow]\r\n678abcd"; string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	b.add([]byte("rest"))
	b.close(io.EOF)
	b.close(errors.New("later"))
	if got, err := b.take(); string(got) != "rest" || err != io.EOF {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := b.take(); len(got) != 0 || err != io.EOF {
		t.Errorf("%q, %v", got, err)
	}
}
