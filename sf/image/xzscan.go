package image

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// checkXZ walks the headers of an xz file without decompressing it, because the
// decoder takes as much memory as each block's header asks for. It returns
// ErrTooLarge for a dictionary beyond maxWindow and ErrFormat for filters other
// than LZMA2; damage that it does not understand is left to the decoder.
//
// The layout: streams of a 12-byte header, blocks, an index and a footer. A block
// is a header, LZMA2 chunks that state their sizes, padding to 4 bytes, a check.
func checkXZ(r io.Reader) error {
	s := new(xzScanner)
	s.reset(r)
	for {
		err := s.stream()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errXZDamaged) {
			return nil // complete, or for the decoder to complain about
		}
		if err != nil {
			return err
		}
	}
}

var errXZDamaged = errors.New("damaged xz")

type xzScanner struct {
	*bufio.Reader
	at int64 // bytes read
}

func (s *xzScanner) reset(r io.Reader) { s.Reader, s.at = bufio.NewReaderSize(r, 64<<10), 0 }

// take reads n bytes; n is small.
func (s *xzScanner) take(n int) ([]byte, error) {
	b := make([]byte, n)
	m, err := io.ReadFull(s, b)
	s.at += int64(m)
	return b, err
}

func (s *xzScanner) skip(n int) error {
	m, err := s.Discard(n)
	s.at += int64(m)
	return err
}

func (s *xzScanner) align() error { return s.skip(int(-s.at & 3)) }

// stream walks one stream, and padding before it.
func (s *xzScanner) stream() error {
	h, err := s.take(4)
	for err == nil && binary.LittleEndian.Uint32(h) == 0 {
		h, err = s.take(4)
	}
	if err != nil {
		return err
	}
	rest, err := s.take(8)
	if err != nil {
		return err
	}
	if string(h) != "\xfd7zX" || string(rest[:2]) != "Z\x00" {
		return errXZDamaged
	}
	checks := [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
	check := checks[rest[3]&15]
	for blocks := int64(0); ; blocks++ {
		size, err := s.take(1)
		if err != nil {
			return err
		}
		if size[0] == 0 {
			return s.index(blocks)
		}
		if err := s.block(int(size[0]), check); err != nil {
			return err
		}
	}
}

// block walks one block, whose header has (size+1)*4 bytes.
func (s *xzScanner) block(size, check int) error {
	b, err := s.take(size*4 + 3)
	if err != nil {
		return err
	}
	flags, b := b[0], b[1:]
	for _, present := range []bool{flags&0x40 != 0, flags&0x80 != 0} {
		if present {
			_, n := binary.Uvarint(b)
			if n <= 0 {
				return errXZDamaged
			}
			b = b[n:]
		}
	}
	// One filter: LZMA2 (0x21), one byte of properties.
	if flags&3 != 0 || len(b) < 3 || b[0] != 0x21 || b[1] != 1 {
		return fmt.Errorf("%w: xz with filters other than LZMA2; compress it with plain `xz`", ErrFormat)
	}
	if dictionary := dictionarySize(b[2]); dictionary > maxWindow {
		return fmt.Errorf("%w: it needs %s of memory to decompress, the limit is %s; compress it with `xz -9` or less",
			ErrTooLarge, bytesText(dictionary), bytesText(maxWindow))
	}
	if err := s.chunks(); err != nil {
		return err
	}
	if err := s.align(); err != nil {
		return err
	}
	return s.skip(check)
}

// dictionarySize decodes the property byte of LZMA2.
func dictionarySize(p byte) int64 {
	if p >= 40 {
		return 1 << 32
	}
	return int64(2|p&1) << (p/2 + 11)
}

// chunks walks LZMA2 data.
func (s *xzScanner) chunks() error {
	for {
		control, err := s.take(1)
		if err != nil {
			return err
		}
		var head []byte
		var size int
		switch c := control[0]; {
		case c == 0:
			return nil
		case c <= 2: // uncompressed
			head, err = s.take(2)
			size = 1
		case c < 0x80:
			return errXZDamaged
		default:
			head, err = s.take(4)
			if err == nil {
				head = head[2:] // after the uncompressed size
			}
			size = 1
			if c >= 0xc0 {
				size++ // new properties
			}
		}
		if err != nil {
			return err
		}
		if err := s.skip(size + int(binary.BigEndian.Uint16(head))); err != nil {
			return err
		}
	}
}

// index walks the index, whose first byte was read, and the footer.
func (s *xzScanner) index(blocks int64) error {
	n, err := s.uvarint()
	if err != nil || n != uint64(blocks) {
		return errors.Join(errXZDamaged, err)
	}
	for range 2 * blocks {
		if _, err := s.uvarint(); err != nil {
			return err
		}
	}
	if err := s.align(); err != nil {
		return err
	}
	return s.skip(4 + 12)
}

func (s *xzScanner) uvarint() (uint64, error) {
	return binary.ReadUvarint(s)
}

// ReadByte implements io.ByteReader and counts.
func (s *xzScanner) ReadByte() (byte, error) {
	b, err := s.Reader.ReadByte()
	if err == nil {
		s.at++
	}
	return b, err
}
