package bolt_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/store/bolt"
)

// asNobody runs fn with the file permissions of an unprivileged user, where the
// test is root's. The thread is not used again.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		fn()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// What may not be read or written is an error of the file system, not an empty
// or a read-only store.
func TestOpenForbidden(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "store-bolt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Chmod(base, 0o700)
		os.RemoveAll(base)
	})
	existing := filepath.Join(base, "existing")
	open(t, existing, bolt.Config{}).Close()
	if err := os.Chmod(base, 0o555); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		mode fs.FileMode
	}{
		"read-only directory": {filepath.Join(base, "new"), 0},
		"unreadable file":     {existing, 0o200},
		"read-only file":      {existing, 0o444},
	} {
		if c.mode != 0 {
			if err := os.Chmod(c.path, c.mode); err != nil {
				t.Fatal(err)
			}
		}
		asNobody(t, func() {
			s, err := bolt.Open(c.path, bolt.Config{})
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: error is %v", name, err)
			}
			t.Logf("%s: %v", name, err)
		})
	}
}
