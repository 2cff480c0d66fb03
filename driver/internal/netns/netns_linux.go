// Package netns runs code in other network namespaces.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs f, which must not start goroutines, in the network namespace with a path;
// an empty path is our own. What f opens there works from anywhere.
func Do(path string, f func() error) error {
	if path == "" {
		return f()
	}
	errs := make(chan error, 1)
	go func() {
		// Should the way back fail, the thread stays locked and dies with us.
		runtime.LockOSThread()
		errs <- func() error {
			own, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
			if err != nil {
				return err
			}
			defer own.Close()
			other, err := os.Open(path)
			if err != nil {
				return err
			}
			defer other.Close()
			if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace %s: %w", path, err)
			}
			err = f()
			if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-errs
}

// New makes a namespace that lives as long as the file that it returns is open, or
// anything is in it. Its path is that of the file's descriptor.
func New() (*os.File, error) {
	type made struct {
		f   *os.File
		err error
	}
	all := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			all <- made{nil, err}
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		all <- made{f, err}
	}()
	m := <-all
	return m.f, m.err
}
