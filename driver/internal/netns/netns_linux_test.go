package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/shakenfist/cloud/driver/internal/netns"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// here names the calling thread's namespace.
func here() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

// What is done in a namespace is done there, and the thread that did it comes back.
func TestDo(t *testing.T) {
	need.Root(t)
	f, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	want, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	home, err := here()
	if err != nil || home == want {
		t.Fatalf("home is %q, %v", home, err)
	}
	for range 100 {
		var got string
		err := netns.Do(path, func() (err error) { got, err = here(); return err })
		if got != want || err != nil {
			t.Fatalf("did it in %q, %v; want %q", got, err, want)
		}
		if now, err := here(); now != home {
			t.Fatalf("afterwards this is %q, %v", now, err)
		}
	}
}

// Our own namespace needs no rights, and errors are those of what failed.
func TestOwn(t *testing.T) {
	failed := errors.New("failed")
	if err := netns.Do("", func() error { return failed }); err != failed {
		t.Errorf("got %v", err)
	}
	if err := netns.Do("/nonexistent", func() error { t.Error("it ran"); return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a namespace: %v", err)
	}
	if err := netns.Do("/proc/self/ns/pid", func() error { t.Error("it ran"); return nil }); err == nil {
		t.Error("a namespace of another kind is taken")
	}
}
