package guest

import (
	"bytes"
	"fmt"
	"io/fs"
)

// cpioWriter writes the archive format that Linux unpacks as its first root
// file system ("newc"). Times, owners and devices are zero, and inode numbers
// count up, so that the same entries give the same bytes.
type cpioWriter struct {
	buf   bytes.Buffer
	inode int
	dirs  map[string]bool
}

// The file types of st_mode, as Linux numbers them.
const (
	modeDir     = 0o040000
	modeCharDev = 0o020000
	modeFile    = 0o100000
	modeLink    = 0o120000
)

// dir adds a directory, and its parents where they are not there yet.
func (w *cpioWriter) dir(name string) {
	if name == "." || name == "" || w.dirs[name] {
		return
	}
	if w.dirs == nil {
		w.dirs = map[string]bool{}
	}
	for i, c := range name {
		if c == '/' {
			w.dir(name[:i])
		}
	}
	w.dirs[name] = true
	w.entry(name, modeDir|0o755, nil, 0, 0)
}

func (w *cpioWriter) file(name string, perm fs.FileMode, data []byte) {
	w.entry(name, modeFile|uint32(perm.Perm()), data, 0, 0)
}

func (w *cpioWriter) symlink(name, target string) {
	w.entry(name, modeLink|0o777, []byte(target), 0, 0)
}

func (w *cpioWriter) charDevice(name string, perm fs.FileMode, major, minor int) {
	w.entry(name, modeCharDev|uint32(perm.Perm()), nil, major, minor)
}

func (w *cpioWriter) entry(name string, mode uint32, data []byte, major, minor int) {
	w.inode++
	fmt.Fprintf(&w.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		w.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	w.buf.WriteString(name)
	w.buf.WriteByte(0)
	w.pad()
	w.buf.Write(data)
	w.pad()
}

func (w *cpioWriter) pad() {
	for w.buf.Len()%4 != 0 {
		w.buf.WriteByte(0)
	}
}

// bytes ends the archive and returns it.
func (w *cpioWriter) bytes() []byte {
	w.inode = -1 // the trailer's is 0
	w.entry("TRAILER!!!", 0, nil, 0, 0)
	return w.buf.Bytes()
}
