//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// TestSingle runs the program with a network namespace in the place of the host's.
func TestSingle(t *testing.T) {
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	guest.Image(t) // says what is missing
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ns := namespace(t)
	var out bytes.Buffer
	p := program{netns: fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), out: &out}
	if err := p.run(ctx); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"single.local login: ", "(single is up)"} {
		if !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("the console has no %q:\n%s", want, out.String())
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	if names := devices(t, ns); len(names) != 1 {
		t.Errorf("devices are left: %v", names)
	}
}

// inside runs fn on a thread that ends with it.
func inside(t *testing.T, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func namespace(t *testing.T) (ns *os.File) {
	inside(t, func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	t.Cleanup(func() { ns.Close() })
	return ns
}

func devices(t *testing.T, ns *os.File) (names []string) {
	inside(t, func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		found, err := net.Interfaces()
		for _, d := range found {
			names = append(names, d.Name)
		}
		return err
	})
	return names
}
