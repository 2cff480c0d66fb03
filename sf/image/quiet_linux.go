package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// quiet returns when nobody has f open for writing. A machine's process that kept
// the file could change, after it was checked, what others will trust. The kernel
// knows: it grants a read lease only then. A file system without leases is taken
// at its word.
func (c *Cache) quiet(ctx context.Context, f *os.File) error {
	for try := 0; ; try++ {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		switch {
		case err == nil:
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
			return os.NewSyscallError("fcntl", err)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
			return nil
		case !errors.Is(err, unix.EAGAIN):
			return os.NewSyscallError("fcntl", err)
		case try >= quietTries:
			return fmt.Errorf("somebody still writes to %s; end the copy first", f.Name())
		}
		// A descriptor lives on for a moment in a child that is about to exec.
		if err := c.config.Sleep(ctx, quietPause); err != nil {
			return err
		}
	}
}

const (
	quietTries = 100
	quietPause = 20 * time.Millisecond
)

// own makes this process's user the owner of a file.
func own(path string, st fs.FileInfo) error {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) == os.Geteuid() {
		return nil
	}
	return os.Lchown(path, os.Geteuid(), os.Getegid())
}
