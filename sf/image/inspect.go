package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// kind is what an image file turned out to be.
type kind struct {
	format  string // "qcow2", "raw", or what qemu-img calls it
	cdrom   bool
	convert bool  // not usable as it is
	size    int64 // of the file, bytes
	virtual int64 // of the disk, bytes
	pad     int64 // missing to a whole sector, bytes
}

// ext is the file name extension in the cache.
func (k kind) ext() string {
	if k.cdrom {
		return ".iso"
	}
	return "." + k.format
}

// inspect recognises an image by its content, and refuses what is no image or
// not safe. Nothing but this package has opened it before.
func (c *Cache) inspect(ctx context.Context, path string) (kind, error) {
	f, err := os.Open(path)
	if err != nil {
		return kind{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return kind{}, err
	}
	k, err := recognise(f, st.Size())
	if err != nil {
		return kind{}, err
	}
	if k.format == "qcow2" {
		k.virtual, err = inspectQcow2(ctx, f, st.Size(), c.config.MaxVirtual)
	} else {
		err = checkVirtual(k.virtual, c.config.MaxVirtual)
	}
	return k, err
}

func checkVirtual(size, limit int64) error {
	if size > limit {
		return fmt.Errorf("%w: a disk of %s, the limit here is %s", ErrTooLarge, bytesText(size), bytesText(limit))
	}
	return nil
}

// inspectQcow2 returns the size of the disk in a qcow2 file that is safe. The
// limit comes before the walk through its tables, whose cost it bounds.
func inspectQcow2(ctx context.Context, f io.ReaderAt, size, limit int64) (int64, error) {
	info, err := qcow2.Inspect(f)
	if err == nil {
		err = info.Safe()
	}
	if err == nil {
		err = checkVirtual(info.VirtualSize, limit)
	}
	if err == nil {
		err = qcow2.Check(ctx, f, size)
	}
	switch {
	case errors.Is(err, qcow2.ErrUnsafe):
		return 0, fmt.Errorf("%w: %w", ErrUnsafe, err)
	case errors.Is(err, qcow2.ErrFormat):
		return 0, fmt.Errorf("%w: %w", ErrFormat, err)
	case err != nil:
		return 0, err
	case info.VirtualSize == 0:
		return 0, fmt.Errorf("%w: a disk of no bytes", ErrFormat)
	}
	return info.VirtualSize, nil
}

const (
	sector    = 512
	isoOffset = 16 * 2048 // of the first volume descriptor
)

// recognise tells formats apart by their magic. What has none is a raw disk, but
// for a few things that people publish by mistake.
func recognise(f io.ReaderAt, size int64) (kind, error) {
	head := make([]byte, isoOffset+2048)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return kind{}, err
	}
	head = head[:n]
	starts := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	refuse := func(what string) (kind, error) {
		return kind{}, fmt.Errorf("%w: it is %s", ErrFormat, what)
	}
	switch {
	case starts(qcow2.Magic):
		return kind{format: "qcow2", size: size}, nil
	case starts("KDMV"):
		return kind{format: "vmdk", convert: true, size: size}, checkVMDK(head)
	case starts("COWD"), starts("# Disk DescriptorFile"):
		return refuse("a VMDK in several files; publish one made with `qemu-img convert -O qcow2`")
	case starts("vhdxfile"):
		return kind{format: "vhdx", convert: true, size: size}, nil
	case starts("conectix"):
		return kind{format: "vpc", convert: true, size: size}, nil
	case len(head) >= 68 && binary.LittleEndian.Uint32(head[64:]) == 0xbeda107f:
		return kind{format: "vdi", convert: true, size: size}, nil
	case starts("QED\x00"), starts("LUKS\xba\xbe"), starts("WithoutFreeSpace"), starts("WithouFreSpacExt"):
		return refuse("in a format that is not supported; convert it with `qemu-img convert -O qcow2`")
	case packing(head) != "":
		return refuse("compressed twice")
	case starts("PK\x03\x04"), starts("7z\xbc\xaf\x27\x1c"), len(head) > 262 && string(head[257:262]) == "ustar":
		return refuse("an archive; publish the disk image itself")
	case isWebPage(head):
		return refuse("a web page; use the URL of the image itself")
	case size < sector:
		return refuse(fmt.Sprintf("only %d bytes", size))
	}
	k := kind{format: "raw", size: size, cdrom: isISO(head), pad: -size & (sector - 1)}
	k.virtual = size + k.pad
	return k, nil
}

// isISO reports an ISO 9660 file system: its primary volume descriptor is the
// first of all.
func isISO(head []byte) bool {
	return len(head) >= isoOffset+2048 && string(head[isoOffset:isoOffset+7]) == "\x01CD001\x01"
}

func isWebPage(head []byte) bool {
	start := bytes.ToLower(bytes.TrimLeft(head[:min(len(head), 256)], " \t\r\n\ufeff"))
	return bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html")) || bytes.HasPrefix(start, []byte("<?xml"))
}

// checkVMDK refuses a VMDK whose descriptor would make the converter open
// another file: it must hold its own data and have no parent.
func checkVMDK(head []byte) error {
	if len(head) < 512 {
		return fmt.Errorf("%w: a VMDK that is cut off", ErrFormat)
	}
	if binary.LittleEndian.Uint64(head[12:]) == 0 { // its capacity
		return fmt.Errorf("%w: a VMDK that only describes other files", ErrUnsafe)
	}
	// The descriptor, wherever the header puts it, is read at sector 1.
	if bytes.Contains(bytes.ToLower(head), []byte("parentfilename")) {
		return fmt.Errorf("%w: a VMDK that continues another file; flatten it with `qemu-img convert -O qcow2`", ErrUnsafe)
	}
	return nil
}
