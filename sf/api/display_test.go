package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// A screen's bytes arrive all, in order, however slowly they are taken.
func TestDisplayLosesNothing(t *testing.T) {
	c, url, machine := serveConsole(t)
	screen, err := dialClient(t, url, "demo").Display(deadline(t), instanceOf(c))
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	if _, err := screen.Write([]byte{1, 0, 0xff}); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 3)
	if _, err := io.ReadFull(machine, p); err != nil || !bytes.Equal(p, []byte{1, 0, 0xff}) {
		t.Errorf("the machine got %v, %v", p, err)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	go func() {
		machine.SetDeadline(time.Now().Add(30 * time.Second)) // a safety net
		machine.Write(sent)
		machine.Close()
	}()
	if got, err := io.ReadAll(screen); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(sent), err)
	}
}

// A page can connect: it says its token and "binary" as subprotocols.
func TestDisplayFromBrowser(t *testing.T) {
	c, url, machine := serveConsole(t)
	ctx := deadline(t)
	dial := func(protocols ...string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, url+"/instances/"+instanceOf(c)+"/vdi", &websocket.DialOptions{Subprotocols: protocols})
	}
	for name, protocols := range map[string][]string{"no token": {"binary"}, "a wrong one": {"binary", "bearer.x"}, "an empty one": {"binary", "bearer."}} {
		if _, w, err := dial(protocols...); err == nil || w == nil || w.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, w, err := dial("binary", "bearer."+c.token("other")); err == nil || w == nil || w.StatusCode != http.StatusNotFound {
		t.Errorf("a stranger: %v", err)
	}
	ws, _, err := dial("binary", "bearer."+c.token("demo"))
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != "binary" {
		t.Errorf("the subprotocol is %q", ws.Subprotocol())
	}
	go machine.Write([]byte("RFB 003.008\n"))
	if kind, p, err := ws.Read(ctx); err != nil || kind != websocket.MessageBinary || string(p) != "RFB 003.008\n" {
		t.Errorf("%v %q, %v", kind, p, err)
	}
	// Elsewhere a token is in the header or nowhere.
	w := c.ask("-", "GET", "/instances", http.Header{"Sec-Websocket-Protocol": {"bearer." + c.token("demo")}}, "")
	if w.Code != 401 {
		t.Errorf("without an upgrade: %d", w.Code)
	}
}

func TestDisplayRefusals(t *testing.T) {
	c, url, _ := serveConsole(t)
	id := instanceOf(c)
	if _, err := dialClient(t, url, "other").Display(deadline(t), id); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("a stranger: %v", err)
	}
	c.server.cloud.(*fakeCloud).faults["Display"] = spec.Errorf(spec.ErrInvalid, "the instance has no screen")
	if _, err := dialClient(t, url, "demo").Display(deadline(t), id); !errors.Is(err, spec.ErrInvalid) || err.Error() != "the instance has no screen" {
		t.Errorf("no screen: %v", err)
	}
	if w := c.ask("demo", "GET", "/instances/"+id+"/vdi", nil, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "the screen is a websocket") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The handshake of VNC with a machine, through a real cloud.
func TestDisplayHandshake(t *testing.T) {
	cloud := sftest.New(t)
	c := converse(t, cloud.Cloud)
	h := httptest.NewServer(c.server)
	t.Cleanup(h.Close)
	cl, ctx := dialClient(t, h.URL, "demo"), deadline(t)
	i, err := cl.Sync().CreateInstance(ctx, "", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	screen, err := cl.Display(ctx, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	expect := func(n int) []byte {
		t.Helper()
		p := make([]byte, n)
		if _, err := io.ReadFull(screen, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if hello := expect(12); string(hello) != "RFB 003.008\n" {
		t.Fatalf("hello %q", hello)
	}
	screen.Write([]byte("RFB 003.008\n"))
	if security := expect(2); security[0] != 1 || security[1] != 1 {
		t.Fatalf("security %v", security)
	}
	screen.Write([]byte{1})
	expect(4)
	screen.Write([]byte{1})
	if size := expect(4); bytes.Equal(size, make([]byte, 4)) {
		t.Errorf("size %v", size)
	}
	if _, err := cl.SetPower(ctx, i.UUID, sf.PowerOff); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(screen); err != nil {
		t.Errorf("it should end with the machine: %v", err)
	}
}
