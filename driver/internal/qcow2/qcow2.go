// Package qcow2 reads what qcow2 images say of the images below them, and makes
// empty ones.
package qcow2

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Backing is what lies under an image.
type Backing struct {
	Path   string // empty for nothing
	Format string // "raw" or "qcow2"
}

// Parts of a qcow2 header, by its specification.
const (
	magic       = 0x514649fb
	formatExt   = 0xe2792aca
	dataFile    = 1 << 2 // incompatible feature: the data are in another file
	maxName     = 1023
	headerBytes = 64 << 10 // extensions beyond that are no one's
)

// Below says what lies under an image, by its header. An image that would make QEMU
// open anything but a plain file of a stated format is refused, and so is one of
// which that file is in none of the directories within, unless there are none. The
// header of a disk is in the hands of its QEMU, which a guest may have broken into:
// whoever opens files with more rights than that QEMU has names the directories.
func Below(image *os.File, within []string) (Backing, error) {
	b, err := readBacking(image)
	if err == nil && b.Path != "" {
		if !filepath.IsAbs(b.Path) {
			b.Path = filepath.Join(filepath.Dir(image.Name()), b.Path)
		}
		err = inside(b.Path, within)
	}
	if err != nil {
		return Backing{}, fmt.Errorf("%s: %w", image.Name(), err)
	}
	return b, nil
}

// inside is nil for a file right in one of some directories, wherever links lead.
func inside(path string, dirs []string) error {
	if len(dirs) == 0 {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("what lies under it: %w", err)
	}
	for _, dir := range dirs {
		if dir, err = filepath.EvalSymlinks(dir); err == nil && filepath.Dir(real) == dir {
			return nil
		}
	}
	return fmt.Errorf("its header names %s below it, which is none of the images in %s: it was changed by somebody who is not to",
		path, strings.Join(dirs, ", "))
}

func readBacking(r io.ReaderAt) (Backing, error) {
	head := make([]byte, headerBytes)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return Backing{}, err
	}
	head = head[:n]
	if len(head) < 72 || binary.BigEndian.Uint32(head) != magic {
		return Backing{}, fmt.Errorf("not a qcow2 image")
	}
	version := binary.BigEndian.Uint32(head[4:])
	extensions := 72
	switch {
	case version == 3 && len(head) >= 104:
		if binary.BigEndian.Uint64(head[72:])&dataFile != 0 {
			return Backing{}, fmt.Errorf("qcow2 image keeps its data in another file")
		}
		extensions = int(min(binary.BigEndian.Uint32(head[100:]), headerBytes))
	case version != 2:
		return Backing{}, fmt.Errorf("qcow2 image of version %d, not 2 or 3", version)
	}
	offset, size := binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint32(head[16:])
	if offset == 0 {
		return Backing{}, nil
	}
	if size == 0 || size > maxName || offset > uint64(len(head)) || offset+uint64(size) > uint64(len(head)) {
		return Backing{}, fmt.Errorf("qcow2 image with a broken backing file name")
	}
	b := Backing{Path: string(head[offset : offset+uint64(size)]), Format: formatExtension(head, extensions)}
	switch {
	case strings.ContainsRune(b.Path, 0) || strings.Contains(strings.SplitN(b.Path, "/", 2)[0], ":"):
		return Backing{}, fmt.Errorf("qcow2 image whose backing file %q is not a plain path", b.Path)
	case b.Format != "raw" && b.Format != "qcow2":
		return Backing{}, fmt.Errorf("qcow2 image whose backing file has format %q, not raw or qcow2", b.Format)
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
		if kind == formatExt {
			return string(head[at : at+int(size)])
		}
		at += (int(size) + 7) &^ 7
	}
	return ""
}
