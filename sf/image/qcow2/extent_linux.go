package qcow2

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// extent implements extents.
func (f rawFile) extent(offset int64) (data bool, length int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return false, 0, err
	}
	fd := int(f.Fd())
	start, err := unix.Seek(fd, offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		return false, st.Size() - offset, nil
	case errors.Is(err, unix.EINVAL): // a file system that does not know
		return true, st.Size() - offset, nil
	case err != nil:
		return false, 0, os.NewSyscallError("lseek", err)
	case start > offset:
		return false, start - offset, nil
	}
	end, err := unix.Seek(fd, offset, unix.SEEK_HOLE)
	return true, end - offset, os.NewSyscallError("lseek", err)
}
