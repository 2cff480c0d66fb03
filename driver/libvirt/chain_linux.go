package libvirt

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxChain is how many files may lie under a disk.
const maxChain = 32

// findChain follows a disk's backing files. All are stated to libvirt, so that no
// format is guessed and nothing else is opened.
func findChain(path, format string) ([]layer, error) {
	chain := []layer{} // not nil: the end is known
	for {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		below := backingFile{}
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err == nil && format == "qcow2" {
			if below, err = readBacking(f); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		f.Close()
		if err != nil || below.Path == "" {
			return chain, err
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("more than %d files lie under it", maxChain)
		}
		if !filepath.IsAbs(below.Path) {
			below.Path = filepath.Join(filepath.Dir(path), below.Path)
		}
		path, format = below.Path, below.Format
		l := layer{Path: path, Format: format}
		if st, err := os.Stat(path); err == nil {
			l.Common = st.Mode().Perm()&0o004 != 0
		}
		chain = append(chain, l)
	}
}

// mayEnter reports whether a user may pass through a directory, by its mode.
func mayEnter(st fs.FileInfo, user, group int) bool {
	mode := st.Mode().Perm()
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case int(sys.Uid) == user:
		return mode&0o100 != 0
	case int(sys.Gid) == group:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// backingFile is what a qcow2 header says of the image below it.
type backingFile struct {
	Path   string // as written, perhaps relative to the image; empty for none
	Format string
}

// Parts of a qcow2 header, by its specification.
const (
	qcow2Magic     = 0x514649fb
	qcow2FormatExt = 0xe2792aca
	qcow2DataFile  = 1 << 2 // incompatible feature: the data are in another file
	qcow2MaxName   = 1023
	qcow2Head      = 64 << 10 // extensions beyond that are no one's
)

// readBacking reads an image's header. One that refers to anything but a plain
// file of a stated format is refused.
func readBacking(r io.ReaderAt) (backingFile, error) {
	head := make([]byte, qcow2Head)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return backingFile{}, err
	}
	if head = head[:n]; n < 72 || binary.BigEndian.Uint32(head) != qcow2Magic {
		return backingFile{}, fmt.Errorf("not a qcow2 image")
	}
	extensions := 72
	switch version := binary.BigEndian.Uint32(head[4:]); {
	case version == 3 && n >= 104:
		if binary.BigEndian.Uint64(head[72:])&qcow2DataFile != 0 {
			return backingFile{}, fmt.Errorf("qcow2 image keeps its data in another file")
		}
		extensions = int(min(binary.BigEndian.Uint32(head[100:]), qcow2Head))
	case version != 2:
		return backingFile{}, fmt.Errorf("qcow2 image of version %d, not 2 or 3", version)
	}
	offset, size := binary.BigEndian.Uint64(head[8:]), uint64(binary.BigEndian.Uint32(head[16:]))
	if offset == 0 {
		return backingFile{}, nil
	}
	if size == 0 || size > qcow2MaxName || offset > uint64(n) || offset+size > uint64(n) {
		return backingFile{}, fmt.Errorf("qcow2 image with a broken backing file name")
	}
	b := backingFile{string(head[offset : offset+size]), formatExtension(head, extensions)}
	switch {
	case strings.ContainsRune(b.Path, 0) || strings.Contains(strings.SplitN(b.Path, "/", 2)[0], ":"):
		return backingFile{}, fmt.Errorf("qcow2 image whose backing file %q is not a plain path", b.Path)
	case b.Format != "raw" && b.Format != "qcow2":
		return backingFile{}, fmt.Errorf("qcow2 image whose backing file has format %q, not raw or qcow2", b.Format)
	}
	return b, nil
}

// formatExtension finds the stated format of the backing file.
func formatExtension(head []byte, at int) string {
	for at+8 <= len(head) {
		kind, size := binary.BigEndian.Uint32(head[at:]), binary.BigEndian.Uint32(head[at+4:])
		at += 8
		if kind == 0 || uint64(at)+uint64(size) > uint64(len(head)) {
			return ""
		}
		if kind == qcow2FormatExt {
			return string(head[at : at+int(size)])
		}
		at += (int(size) + 7) &^ 7
	}
	return ""
}
