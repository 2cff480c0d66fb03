package notes_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/notes"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// A directory is made for us alone, and is somebody's until the lock is closed.
func TestLock(t *testing.T) {
	t.Parallel() // it waits for a second
	dir := filepath.Join(t.TempDir(), "a", "b")
	lock, err := notes.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v, %v", st.Mode(), err)
	}
	if _, err := notes.Lock(dir); err == nil || !strings.Contains(err.Error(), dir+" is in use by another process") {
		t.Errorf("locked twice: %v", err)
	}
	lock.Close()
	again, err := notes.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// What a killed process had just forked holds its lock for a moment, which is waited
// for.
func TestLockSoon(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		lock, err := notes.Lock(dir)
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		go func() {
			again, err := notes.Lock(dir)
			if err == nil {
				again.Close()
			}
			errs <- err
		}()
		for descriptors(t, lock.Name()) < 2 { // it is about to ask for the lock, or has
			runtime.Gosched()
		}
		lock.Close()
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// descriptors counts those that we have of a file.
func descriptors(t *testing.T, path string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == path {
			n++
		}
	}
	return n
}

// A file is replaced whole, with nothing beside it.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "note")
	for _, durable := range []bool{false, true} {
		if err := notes.Save(path, map[string]bool{"durable": durable}, durable); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{false: "{\"durable\":false}\n", true: "{\"durable\":true}\n"}[durable]
		if b, err := os.ReadFile(path); string(b) != want || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	}
	if err := notes.Save(path, func() {}, true); err == nil {
		t.Error("a function was saved")
	}
	if err := notes.Save(filepath.Join(dir, "none", "note"), 1, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	if list, err := os.ReadDir(dir); len(list) != 1 || err != nil {
		t.Errorf("there are %v, %v", list, err)
	}
}

// A full disk is said to be one, and what was there before stays.
func TestSaveFull(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "note")
	if err := notes.Save(path, "old", true); err != nil {
		t.Fatal(err)
	}
	if err := notes.Save(path, strings.Repeat("x", 1<<20), true); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "\"old\"\n" {
		t.Errorf("the note is %q now", b)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("there are %v", list)
	}
}
