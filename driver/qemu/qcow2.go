package qemu

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// backing is what a qcow2 header says of the image below it.
type backing struct {
	Path   string // as written, perhaps relative to the image; empty for none
	Format string
}

// Parts of a qcow2 header, by its specification.
const (
	qcow2Magic       = 0x514649fb
	qcow2FormatExt   = 0xe2792aca
	qcow2DataFile    = 1 << 2 // incompatible feature: the data are in another file
	qcow2MaxName     = 1023
	qcow2HeaderBytes = 64 << 10 // extensions beyond that are no one's
)

// readBacking reads an image's header. An image that would make QEMU open a file
// we do not pass, or guess a format, is refused.
func readBacking(r io.ReaderAt) (backing, error) {
	head := make([]byte, qcow2HeaderBytes)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return backing{}, err
	}
	head = head[:n]
	if len(head) < 72 || binary.BigEndian.Uint32(head) != qcow2Magic {
		return backing{}, fmt.Errorf("not a qcow2 image")
	}
	version := binary.BigEndian.Uint32(head[4:])
	extensions := 72
	switch {
	case version == 3 && len(head) >= 104:
		if binary.BigEndian.Uint64(head[72:])&qcow2DataFile != 0 {
			return backing{}, fmt.Errorf("qcow2 image keeps its data in another file")
		}
		extensions = int(min(binary.BigEndian.Uint32(head[100:]), qcow2HeaderBytes))
	case version != 2:
		return backing{}, fmt.Errorf("qcow2 image of version %d, not 2 or 3", version)
	}
	offset, size := binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint32(head[16:])
	if offset == 0 {
		return backing{}, nil
	}
	if size == 0 || size > qcow2MaxName || offset > uint64(len(head)) || offset+uint64(size) > uint64(len(head)) {
		return backing{}, fmt.Errorf("qcow2 image with a broken backing file name")
	}
	b := backing{Path: string(head[offset : offset+uint64(size)]), Format: formatExtension(head, extensions)}
	switch {
	case strings.ContainsRune(b.Path, 0) || strings.Contains(strings.SplitN(b.Path, "/", 2)[0], ":"):
		return backing{}, fmt.Errorf("qcow2 image whose backing file %q is not a plain path", b.Path)
	case b.Format != "raw" && b.Format != "qcow2":
		return backing{}, fmt.Errorf("qcow2 image whose backing file has format %q, not raw or qcow2", b.Format)
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
