// Package consolelog bounds and reads the file that a machine's serial port is
// written to.
//
// It is one file that an emulator appends to, and whose offsets are those of the
// bytes ever written. It is bounded by punching a hole at its start: the old blocks
// go back to the file system, the offsets stay, and nothing that is written
// meanwhile is lost or moved.
package consolelog

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// slack is how far a log may outgrow its limit before it is cut.
const slack = 64 << 10

// Bound frees what is more than limit bytes from the end, in whole blocks and once
// it is worthwhile. A log that is not there is nil.
func Bound(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	cut := (st.Size() - limit) &^ 4095
	if cut-firstData(f) < min(slack, limit) {
		return nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, cut)
	if errors.Is(err, unix.EOPNOTSUPP) {
		// Drop all of it, then give the offsets back as one hole.
		if err = f.Truncate(0); err == nil {
			err = f.Truncate(st.Size())
		}
	}
	return err
}

// firstData is the offset of the oldest byte that is kept.
func firstData(f *os.File) int64 {
	at, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // only a hole
		if st, err := f.Stat(); err == nil {
			return st.Size()
		}
	}
	if err != nil {
		return 0
	}
	return at
}

// Read is driver.Consoler's ConsoleLog of a file. One that is not there belongs to a
// machine that never ran, and is empty.
func Read(path string, offset int64, p []byte) (n int, end int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	} else if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	end = st.Size()
	if offset < 0 {
		offset += end
	}
	for {
		at := min(max(offset, firstData(f)), end)
		n, err = f.ReadAt(p[:min(int64(len(p)), end-at)], at)
		if err == io.EOF {
			err = nil
		}
		if err != nil || at >= firstData(f) {
			return n, end, err
		}
		// What we read was punched out meanwhile: it may be zeros.
	}
}
