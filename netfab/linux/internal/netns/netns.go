//go:build linux

// Package netns holds network namespaces as values: a handle keeps its namespace
// alive, code can run inside one, and one can be given a name in a directory.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNS is the namespace of the calling thread (the process's is that of its
// first thread, which is another question).
const threadNS = "/proc/thread-self/ns/net"

// NS is an open network namespace. It is safe for concurrent use.
type NS struct {
	file *os.File
}

// Open opens the namespace that a path leads to: a name given by Mount, a
// process's /proc/PID/ns/net, a handle's /proc/self/fd/N.
func Open(path string) (*NS, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if !isNS(int(file.Fd())) {
		file.Close()
		return nil, fmt.Errorf("%s is not a network namespace", path)
	}
	return &NS{file: file}, nil
}

// Current opens the namespace of the calling thread.
func Current() (*NS, error) { return Open(threadNS) }

// New makes a namespace that lives as long as its handle, unless Mount names it.
func New() (*NS, error) {
	var ns *NS
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		var err error
		ns, err = Current()
		return err
	})
	return ns, err
}

// Fd returns the handle's file descriptor, valid until Close.
func (ns *NS) Fd() int { return int(ns.file.Fd()) }

// Close lets go of the namespace.
func (ns *NS) Close() error { return ns.file.Close() }

// ID tells namespaces of one boot apart.
func (ns *NS) ID() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &st); err != nil {
		return 0, fmt.Errorf("network namespace: %w", err)
	}
	return st.Ino, nil
}

// Do runs fn on a thread inside the namespace. What fn opens stays inside;
// goroutines and processes that it starts do not.
func (ns *NS) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// onThread runs fn, which may change the thread's namespace, on a thread of its
// own, and gives the thread back only in the namespace it came from.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open(threadNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open %s: %w", threadNS, err)
			return
		}
		defer unix.Close(home)
		err = fn()
		// A thread that cannot return stays locked, and dies with its goroutine.
		if back := unix.Setns(home, unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func isNS(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Named reports whether a path leads to a namespace, without opening one.
func Named(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// PrepareDir makes dir fit for names as `ip netns` does: a mount of its own that
// is shared, so that a later `ip netns add` does not hide what is mounted in it.
func PrepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// One at a time, as newer versions of `ip` do it too: two that find no mount point
	// would make two, one upon the other.
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	err = unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount point yet
		return fmt.Errorf("share %s: %w", dir, err)
	}
	if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to itself: %w", dir, err)
	}
	if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share %s: %w", dir, err)
	}
	return nil
}

// Mount gives the namespace a name, which keeps it alive without a handle. The
// file below the mount holds note, so that a name which a crash left without
// its namespace can be told from a stranger's.
func (ns *NS) Mount(path, note string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	if _, err = file.WriteString(note); err == nil {
		err = file.Close()
	}
	if err == nil {
		err = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "none", unix.MS_BIND, "")
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("name network namespace %s: %w", path, err)
	}
	return nil
}

// Unmount takes the name away; the namespace goes when nothing else holds it. A
// name that is gone is nil.
func Unmount(path string) error {
	for Named(path) { // more than once if somebody mounted over it
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
