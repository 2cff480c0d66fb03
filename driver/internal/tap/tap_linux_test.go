package tap_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver/internal/netns"
	"github.com/shakenfist/cloud/driver/internal/tap"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// namespace is the path of one of the test's own.
func namespace(t *testing.T) string {
	t.Helper()
	need.Root(t)
	f, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
}

// A tap stays, is opened from another namespace by one process at a time, with or
// without offload, and opening makes none.
func TestTap(t *testing.T) {
	ns := namespace(t)
	if _, err := tap.Open(ns, "sftap0", true); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "no such interface") {
		t.Errorf("opening none: %v", err)
	}
	if err := tap.Exists(ns, "sftap0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("before it is made: %v", err)
	}
	for range 2 {
		if err := tap.Make(ns, "sftap0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := tap.Exists(ns, "sftap0"); err != nil {
		t.Error(err)
	}
	if tap.Exists("", "sftap0") == nil {
		t.Error("it is in our own namespace")
	}
	if in, out, err := tap.Counters(ns, "sftap0"); in != 0 || out != 0 || err != nil {
		t.Errorf("it counts %d, %d, %v", in, out, err)
	}
	if _, _, err := tap.Counters("", "sftap0"); err == nil {
		t.Error("it counts in our own namespace")
	}
	for _, offload := range []bool{true, false} {
		f, err := tap.Open(ns, "sftap0", offload)
		if err != nil {
			t.Fatal(err)
		}
		req, _ := unix.NewIfreq("sftap0")
		if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNGETIFF, req); err != nil || (req.Uint16()&unix.IFF_VNET_HDR != 0) != offload {
			t.Errorf("offload %v: flags %#x, %v", offload, req.Uint16(), err)
		}
		if _, err := tap.Open(ns, "sftap0", offload); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "cannot attach") {
			t.Errorf("opening it twice: %v", err)
		}
		f.Close()
	}
}

func TestNames(t *testing.T) {
	const long = "a-name-longer-than-interfaces"
	if tap.Exists("", long) == nil || tap.Make("", long) == nil {
		t.Error("a name that no interface has is taken")
	}
	if _, err := tap.Open("", long, true); err == nil {
		t.Error("a name that no interface has is opened")
	}
}
