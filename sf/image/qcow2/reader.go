package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
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
	flate   io.ReadCloser // made on first use

	mu       sync.Mutex
	l2       []byte // the last L2 table used
	l2Offset int64
	packed   []byte // room for a compressed cluster
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
		m, err := r.run(offset, min(int64(len(p)), r.info.VirtualSize-offset))
		if err == nil {
			err = r.readRun(p[:m.length], offset, m)
		}
		if err != nil {
			return n, fmt.Errorf("read the disk at %d: %w", offset, err)
		}
		n, offset, p = n+int(m.length), offset+m.length, p[m.length:]
	}
	return n, nil
}

// run is a stretch of a disk that is read in one piece.
type run struct {
	kind   runKind
	entry  uint64 // of the L2 table, its first
	offset int64  // in the file, of runPlain
	length int64  // bytes
}

type runKind int

const (
	runZero    runKind = iota
	runBacking         // what lies below
	runPlain
	runPacked // within one compressed cluster
)

// run finds the longest run from a disk offset on, at most limit bytes, within
// one L2 table. The caller holds mu.
func (r *Reader) run(offset, limit int64) (run, error) {
	size := r.info.ClusterSize
	perTable := size / 8
	index := offset >> r.info.clusterBits
	within := offset & (size - 1)
	n := index % perTable
	m := run{length: (perTable-n)<<r.info.clusterBits - within}
	table := int64(binary.BigEndian.Uint64(r.l1[index/perTable*8:]) & offsetMask)
	if table == 0 {
		m.kind = runBacking
		m.length = min(m.length, limit)
		return m, nil
	}
	if err := r.load(table); err != nil {
		return run{}, err
	}
	m.entry = binary.BigEndian.Uint64(r.l2[n*8:])
	m.kind, m.offset = r.kind(m.entry)
	m.offset += within
	m.length = size - within
	for n++; n < perTable && m.length < limit && m.kind != runPacked; n++ {
		kind, at := r.kind(binary.BigEndian.Uint64(r.l2[n*8:]))
		if kind != m.kind || kind == runPlain && at != m.offset+m.length {
			break
		}
		m.length += size
	}
	m.length = min(m.length, limit)
	return m, nil
}

// kind says what an L2 entry means, and where a plain cluster begins.
func (r *Reader) kind(entry uint64) (kind runKind, offset int64) {
	switch {
	case entry&flagCompressed != 0:
		return runPacked, 0
	case r.info.Version > 2 && entry&flagZero != 0:
		return runZero, 0
	case entry&offsetMask == 0:
		return runBacking, 0
	}
	return runPlain, int64(entry & offsetMask)
}

// readRun fills p, which is the run m at a disk offset.
func (r *Reader) readRun(p []byte, offset int64, m run) error {
	switch m.kind {
	case runZero:
		clear(p)
		return nil
	case runBacking:
		return r.readBacking(p, offset)
	case runPlain:
		return readFull(r.file, p, m.offset)
	}
	if err := r.inflate(m.entry); err != nil {
		return err
	}
	copy(p, r.cluster[offset&(r.info.ClusterSize-1):])
	return nil
}

// extent implements extents.
func (r *Reader) extent(offset int64) (data bool, length int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.run(offset, r.info.VirtualSize-offset)
	switch {
	case err != nil:
		return false, 0, fmt.Errorf("look at the disk at %d: %w", offset, err)
	case m.kind != runBacking:
		return m.kind != runZero, m.length, nil
	case r.backing == nil || offset >= r.backed:
		return false, m.length, nil
	}
	data, length, err = extent(r.backing, offset, r.backed)
	return data, min(length, m.length), err
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

// load makes table the last L2 table used.
func (r *Reader) load(table int64) error {
	if table == r.l2Offset {
		return nil
	}
	r.l2Offset = 0
	if err := readFull(r.file, r.l2, table); err != nil {
		return fmt.Errorf("L2 table: %w", err)
	}
	r.l2Offset = table
	return nil
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
	if int64(cap(r.packed)) < length {
		r.packed = make([]byte, length)
	}
	packed := r.packed[:length]
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
		if r.flate == nil {
			r.flate = flate.NewReader(nil)
		}
		if err := r.flate.(flate.Resetter).Reset(bytes.NewReader(packed), nil); err != nil {
			return err
		}
		_, err := io.ReadFull(r.flate, r.cluster)
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
