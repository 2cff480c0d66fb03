package image

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/shakenfist/cloud/driver"
)

const (
	maxWindow = 128 << 20 // memory that a compressed file may ask for, bytes
	freeRatio = 64 << 20  // data below which MaxRatio does not matter, bytes
)

// packing recognises a compressed file by how it begins.
func packing(head []byte) string {
	for name, magic := range map[string]string{
		"gzip": "\x1f\x8b\x08", "bzip2": "BZh", "xz": "\xfd7zXZ\x00", "zstd": "\x28\xb5\x2f\xfd",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return name
		}
	}
	return ""
}

// unpack decompresses a download that is compressed into a new file at path, and
// returns the SHA-256 of the result.
func (c *Cache) unpack(ctx context.Context, p *partial, path string, report func(driver.Progress)) (sum string, packed bool, err error) {
	head := make([]byte, 16)
	n, err := p.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	kind := packing(head[:n])
	if kind == "" {
		return "", false, nil
	}
	if kind == "xz" {
		if err := checkXZ(io.NewSectionReader(p.file, 0, p.size)); err != nil {
			return "", true, err
		}
	}
	in := &source{ctx: ctx, r: io.NewSectionReader(p.file, 0, p.size), report: func(done int64) {
		report(driver.Progress{Stage: "converting", Done: done, Total: p.size})
	}}
	r, err := unpacker(kind, bufio.NewReaderSize(in, 256<<10))
	if err != nil {
		return "", true, fmt.Errorf("%w: %s: %w", ErrFormat, kind, err)
	}
	if z, ok := r.(interface{ Close() }); ok {
		defer z.Close()
	}
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", true, c.noSpace(err, 0)
	}
	defer closeWith(out, &err)
	hash := sha256.New()
	w := &sparseWriter{file: out, limit: c.config.MaxImage, dataLimit: c.mostData(p.size), room: func() error { return c.room(0) }}
	_, err = io.CopyBuffer(onlyWriter{io.MultiWriter(hash, w)}, onlyReader{r}, make([]byte, sparseBlock))
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return "", true, c.unpackError(ctx, kind, err, w)
	}
	return hex.EncodeToString(hash.Sum(nil)), true, nil
}

// mostData is how much data may become of a download of some bytes.
func (c *Cache) mostData(size int64) int64 { return max(freeRatio, size*c.config.MaxRatio) }

// unpackError tells our side's failures (full disk, cancelled, a limit) from
// damaged data.
func (c *Cache) unpackError(ctx context.Context, kind string, err error, w *sparseWriter) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.err != nil {
		return c.noSpace(w.err, 0)
	}
	return fmt.Errorf("%w: damaged %s data: %w", ErrFormat, kind, err)
}

// unpacker returns a reader of the decompressed bytes.
func unpacker(kind string, r io.Reader) (io.Reader, error) {
	switch kind {
	case "gzip":
		return gzip.NewReader(r)
	case "bzip2":
		return bzip2.NewReader(r), nil
	case "xz":
		return xz.NewReader(r)
	default:
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	}
}

// source counts what is read, and ends when ctx does.
type source struct {
	ctx    context.Context
	r      io.Reader
	done   int64
	report func(done int64)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.done += int64(n)
	s.report(s.done)
	return n, err
}

// onlyReader and onlyWriter hide ReadFrom and WriteTo, so that copies go by
// blocks.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

const sparseBlock = 64 << 10

// sparseWriter writes a file with holes where the data is zero, within limits.
type sparseWriter struct {
	file      *os.File
	size      int64 // bytes so far, holes included
	data      int64 // bytes so far, holes not included
	limit     int64 // of size
	dataLimit int64 // of data
	room      func() error
	checked   int64 // data when room was last asked
	err       error // the first error, which is ours and not the input's
}

var zeroBlock [sparseBlock]byte

// zero reports whether there is nothing but zeros.
func zero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeroBlock))
		if !bytes.Equal(p[:n], zeroBlock[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

func (w *sparseWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.err = w.write(p); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

func (w *sparseWriter) write(p []byte) error {
	if w.size += int64(len(p)); w.size > w.limit {
		return fmt.Errorf("%w: more than %s when decompressed", ErrTooLarge, bytesText(w.limit))
	}
	if zero(p) {
		return nil
	}
	if w.data += int64(len(p)); w.data > w.dataLimit {
		return fmt.Errorf("%w: it unpacks to more than %s of data, which is out of proportion", ErrTooLarge, bytesText(w.dataLimit))
	}
	if w.data-w.checked >= checkpoint {
		w.checked = w.data
		if err := w.room(); err != nil {
			return err
		}
	}
	_, err := w.file.WriteAt(p, w.size-int64(len(p)))
	return err
}

// finish gives the file its size when it ends in a hole.
func (w *sparseWriter) finish() error {
	w.err = w.file.Truncate(w.size)
	return w.err
}
