package qcow2

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Reader reads a disk as its guest would. Methods are safe for concurrent use.
type Reader struct {
	info    Info
	file    io.ReaderAt
	backing io.ReaderAt // nil reads as zeroes
	backed  int64       // bytes of backing; zeroes beyond
	l1      []byte
	zstd    *zstd.Decoder // made on first use

	mu       sync.Mutex
	l2       []byte // the last L2 table used
	l2Offset int64
	cluster  []byte // the last compressed cluster, inflated
	entry    uint64 // its L2 entry
}

// NewReader reads the image in file over backing, which has size bytes; a nil
// backing reads as zeroes. It refuses what Info.Safe refuses, but for a backing
// file when there is a backing. Errors wrap ErrFormat or ErrUnsafe.
func NewReader(file, backing io.ReaderAt, size int64) (*Reader, error) {
	info, err := Inspect(file)
	if err != nil {
		return nil, err
	}
	safe := info
	if backing != nil {
		safe.BackingFile = ""
	}
	if err := safe.Safe(); err != nil {
		return nil, err
	}
	r := &Reader{info: info, file: file, backing: backing, backed: size}
	r.l1 = make([]byte, info.l1Needed(info.VirtualSize)*8)
	if err := readFull(file, r.l1, info.l1Offset); err != nil {
		return nil, fmt.Errorf("read the L1 table: %w", err)
	}
	r.l2 = make([]byte, info.ClusterSize)
	r.cluster = make([]byte, info.ClusterSize)
	return r, nil
}

// Info returns what the header says.
func (r *Reader) Info() Info { return r.info }

// Size is the size of the disk in bytes.
func (r *Reader) Size() int64 { return r.info.VirtualSize }

// ReadAt reads the disk's bytes at offset, io.EOF at its end.
func (r *Reader) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("read at %d", offset)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 {
		if offset >= r.info.VirtualSize {
			return n, io.EOF
		}
		within := offset & (r.info.ClusterSize - 1)
		part := p[:min(int64(len(p)), r.info.ClusterSize-within, r.info.VirtualSize-offset)]
		if err := r.readCluster(part, offset, within); err != nil {
			return n, fmt.Errorf("read the disk at %d: %w", offset, err)
		}
		n, offset, p = n+len(part), offset+int64(len(part)), p[len(part):]
	}
	return n, nil
}

// readCluster fills p from offset, which is within bytes into its cluster.
func (r *Reader) readCluster(p []byte, offset, within int64) error {
	entry, err := r.lookup(offset)
	if err != nil {
		return err
	}
	switch {
	case entry&flagCompressed != 0:
		if err := r.inflate(entry); err != nil {
			return err
		}
		copy(p, r.cluster[within:])
		return nil
	case r.info.Version > 2 && entry&flagZero != 0:
		clear(p)
		return nil
	case entry&offsetMask == 0:
		return r.readBacking(p, offset)
	}
	return readFull(r.file, p, int64(entry&offsetMask)+within)
}

// readBacking fills p from the backing file, zeroes beyond its end.
func (r *Reader) readBacking(p []byte, offset int64) error {
	if r.backing != nil && offset < r.backed {
		part := p[:min(int64(len(p)), r.backed-offset)]
		if err := readFull(r.backing, part, offset); err != nil {
			return fmt.Errorf("backing file: %w", err)
		}
		p = p[len(part):]
	}
	clear(p)
	return nil
}

// lookup finds the L2 entry for a disk offset; 0 where there is no table.
func (r *Reader) lookup(offset int64) (uint64, error) {
	index := offset >> r.info.clusterBits
	perTable := r.info.ClusterSize / 8
	table := int64(binary.BigEndian.Uint64(r.l1[index/perTable*8:]) & offsetMask)
	if table == 0 {
		return 0, nil
	}
	if table != r.l2Offset {
		r.l2Offset = 0
		if err := readFull(r.file, r.l2, table); err != nil {
			return 0, fmt.Errorf("L2 table: %w", err)
		}
		r.l2Offset = table
	}
	return binary.BigEndian.Uint64(r.l2[index%perTable*8:]), nil
}

// extent returns where the compressed bytes of an L2 entry lie: at most length
// bytes, of which the last sector may belong to another cluster.
func (i Info) extent(entry uint64) (offset, length int64) {
	shift := 62 - (i.clusterBits - 8)
	offset = int64(entry & (1<<shift - 1))
	sectors := int64(entry&(flagCompressed-1))>>shift + 1
	return offset, sectors*512 - offset&511
}

// inflate decompresses one cluster into r.cluster.
func (r *Reader) inflate(entry uint64) error {
	if r.entry == entry {
		return nil
	}
	r.entry = 0
	offset, length := r.info.extent(entry)
	packed := make([]byte, length)
	n, err := readSome(r.file, packed, offset) // the last sector may lie beyond the end
	if err != nil {
		return err
	}
	if err := r.decompress(packed[:n]); err != nil {
		return fmt.Errorf("%w: compressed cluster at %#x: %w", ErrFormat, offset, err)
	}
	r.entry = entry
	return nil
}

// decompress inflates packed into r.cluster, which it must fill.
func (r *Reader) decompress(packed []byte) error {
	if r.info.Compression == Deflate {
		_, err := io.ReadFull(flate.NewReader(bytes.NewReader(packed)), r.cluster)
		return err
	}
	var err error
	if r.zstd == nil {
		r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return err
		}
	}
	if err := r.zstd.Reset(bytes.NewReader(packed)); err != nil {
		return err
	}
	_, err = io.ReadFull(r.zstd, r.cluster)
	return err
}

// readFull fills p or says that the image is cut off.
func readFull(f io.ReaderAt, p []byte, offset int64) error {
	n, err := readSome(f, p, offset)
	if err == nil && n < len(p) {
		err = fmt.Errorf("%w: cut off at byte %d", ErrFormat, offset+int64(n))
	}
	return err
}
