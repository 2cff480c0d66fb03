package socket_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/internal/socket"
)

// A socket with a path that no address holds is dialled as soon as it is made; one
// made again takes its place.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	for range 2 {
		f, err := socket.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		conn, err := socket.Dial(t.Context(), path, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		l, err := net.FileListener(f) // as the process does that inherits it
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() { io.WriteString(far, "hello"); far.Close() }()
		if b, err := io.ReadAll(conn); string(b) != "hello" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	}
}

// Errors name the socket, and say whether it is not there or nobody listens.
func TestErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	dial := func() error { _, err := socket.Dial(t.Context(), path, time.Minute); return err }
	if err := dial(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("without a socket: %v", err)
	}
	f, err := socket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := dial(); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), path) {
		t.Errorf("without a listener: %v", err)
	}
	if _, err := socket.Listen(filepath.Join(path, "x")); err == nil {
		t.Error("a file passes for a directory")
	}
}
