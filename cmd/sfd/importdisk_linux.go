package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hasWriter reports an error where somebody has a file open for writing: the kernel
// grants a read lease only where nobody has. A file system without leases is taken at its word.
func hasWriter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("somebody writes to %s: stop the machine that runs on it", path)
	}
	return nil // the lease ends with f
}
