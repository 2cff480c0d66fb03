package libvirt

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// slack is how far a log may outgrow its limit before it is cut.
const slack = 64 << 10

// boundLog frees what is more than limit bytes from the end, by a hole at the
// start: offsets stay, and nothing that is written meanwhile is lost or moved.
func boundLog(path string, limit int64) error {
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
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, cut)
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

// ConsoleLog implements driver.Consoler.
func (h *Hypervisor) ConsoleLog(ctx context.Context, id string, offset int64, p []byte) (n int, end int64, err error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	m := h.hold(id)
	defer h.drop(m)
	if !m.known() {
		if _, err := m.sync(ctx); err != nil {
			return 0, 0, err
		}
	}
	return readLog(consoleLog(m.spec()), offset, p)
}

func readLog(path string, offset int64, p []byte) (n int, end int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil // it never ran
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
