//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namesDir is where `ip netns` has the names of namespaces.
const namesDir = "/run/netns"

// inside runs fn on a thread inside a namespace. What it opens and starts is inside.
func inside(name string, fn func() error) error {
	ns, err := os.Open(filepath.Join(namesDir, name))
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer ns.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}
