package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Inspect parses the header of an image. It reads the first cluster, at most
// 2 MiB, and opens nothing else. Errors wrap ErrFormat, except those of reading. A nil error says
// that the header is well formed, not that the image is safe: see Info.Safe.
func Inspect(r io.ReaderAt) (Info, error) {
	b := make([]byte, headerV3)
	n, err := readSome(r, b, 0)
	if err != nil {
		return Info{}, err
	}
	info, err := parseFixed(b[:n])
	if err != nil {
		return Info{}, err
	}
	// Extensions and the backing name lie in the first cluster.
	b = make([]byte, info.ClusterSize)
	if n, err = readSome(r, b, 0); err != nil {
		return Info{}, err
	}
	if err := info.parseRest(b[:n]); err != nil {
		return Info{}, err
	}
	return info, nil
}

// parseFixed reads the fields at fixed offsets of versions 2 and 3.
func parseFixed(b []byte) (Info, error) {
	if len(b) < headerV2 || string(b[:4]) != Magic {
		return Info{}, fmt.Errorf("%w: no qcow2 header", ErrFormat)
	}
	be := binary.BigEndian
	i := Info{Version: int(be.Uint32(b[4:])), headerSize: headerV2}
	if i.Version != 2 && i.Version != 3 {
		return Info{}, fmt.Errorf("%w: version %d (2 and 3 are known)", ErrFormat, i.Version)
	}
	bits := be.Uint32(b[20:])
	if bits < minClusterBits || bits > maxClusterBits {
		return Info{}, fmt.Errorf("%w: cluster size 2^%d", ErrFormat, bits)
	}
	i.clusterBits, i.ClusterSize = uint(bits), 1<<bits
	size := be.Uint64(b[24:])
	if size > math.MaxInt64>>1 {
		return Info{}, fmt.Errorf("%w: a virtual size of %d bytes", ErrFormat, size)
	}
	i.VirtualSize = int64(size)
	i.Encrypted = be.Uint32(b[32:]) != 0
	i.l1Size, i.l1Offset = int64(be.Uint32(b[36:])), int64(be.Uint64(b[40:]))
	i.refOffset, i.refClusters = int64(be.Uint64(b[48:])), int64(be.Uint32(b[56:]))
	i.Snapshots = int(be.Uint32(b[60:]))
	if i.Version == 3 {
		if len(b) < headerV3 {
			return Info{}, fmt.Errorf("%w: the header is cut off", ErrFormat)
		}
		i.Incompatible = be.Uint64(b[72:])
		i.headerSize = int64(be.Uint32(b[100:]))
		if i.headerSize < headerV3 || i.headerSize > i.ClusterSize || i.headerSize%8 != 0 {
			return Info{}, fmt.Errorf("%w: a header of %d bytes", ErrFormat, i.headerSize)
		}
	}
	i.Dirty = i.Incompatible&featureDirty != 0
	i.Corrupt = i.Incompatible&featureCorrupt != 0
	i.DataFile = i.Incompatible&featureDataFile != 0
	return i, i.checkTables()
}

// checkTables bounds the tables that the header points to.
func (i Info) checkTables() error {
	aligned := func(offset int64) bool { return offset >= 0 && offset&(i.ClusterSize-1) == 0 }
	switch {
	case i.l1Size*8 > maxL1Bytes:
		return fmt.Errorf("%w: an L1 table of %d entries", ErrFormat, i.l1Size)
	case i.l1Size < i.l1Needed(i.VirtualSize):
		return fmt.Errorf("%w: an L1 table of %d entries is too small for %d bytes", ErrFormat, i.l1Size, i.VirtualSize)
	case !aligned(i.l1Offset) || i.l1Size > 0 && i.l1Offset == 0:
		return fmt.Errorf("%w: an L1 table at %#x", ErrFormat, i.l1Offset)
	case !aligned(i.refOffset) || i.refOffset == 0:
		return fmt.Errorf("%w: a refcount table at %#x", ErrFormat, i.refOffset)
	case i.refClusters<<i.clusterBits > maxRefTableBytes:
		return fmt.Errorf("%w: a refcount table of %d clusters", ErrFormat, i.refClusters)
	case i.Snapshots > maxSnapshots:
		return fmt.Errorf("%w: %d snapshots", ErrFormat, i.Snapshots)
	}
	return nil
}

// l1Needed is the number of L1 entries for a disk of this many bytes.
func (i Info) l1Needed(size int64) int64 {
	shift := 2*i.clusterBits - 3 // what an L1 entry covers: one L2 table of 8-byte entries
	return size>>shift + min(1, size&(1<<shift-1))
}

// parseRest reads what lies behind the fixed fields in the first cluster b.
func (i *Info) parseRest(b []byte) error {
	be := binary.BigEndian
	if i.headerSize > int64(len(b)) {
		return fmt.Errorf("%w: the header is cut off", ErrFormat)
	}
	if i.Incompatible&featureCompression != 0 {
		if i.headerSize <= headerV3 {
			return fmt.Errorf("%w: no compression type", ErrFormat)
		}
		i.Compression = int(b[104])
		if i.Compression != Deflate && i.Compression != Zstd {
			return fmt.Errorf("%w: compression type %d", ErrFormat, i.Compression)
		}
	}
	nameOffset, nameSize := be.Uint64(b[8:]), be.Uint32(b[16:])
	end := int64(len(b))
	if nameOffset != 0 {
		switch {
		case nameSize > maxBackingName:
			return fmt.Errorf("%w: a backing file name of %d bytes", ErrFormat, nameSize)
		case nameOffset < uint64(i.headerSize) || nameOffset > uint64(len(b)) || nameOffset+uint64(nameSize) > uint64(len(b)):
			return fmt.Errorf("%w: a backing file name at %#x, outside the header", ErrFormat, nameOffset)
		case nameSize > 0:
			i.BackingFile = string(b[nameOffset:][:nameSize])
			end = int64(nameOffset)
		}
	}
	return i.parseExtensions(b[i.headerSize:end])
}

// parseExtensions walks the header extensions, which end at a zero type or where
// the backing file name begins.
func (i *Info) parseExtensions(b []byte) error {
	be := binary.BigEndian
	for len(b) >= 8 {
		kind, size := be.Uint32(b), int64(be.Uint32(b[4:]))
		b = b[8:]
		if kind == extEnd {
			return nil
		}
		if size > int64(len(b)) {
			return fmt.Errorf("%w: header extension %#x of %d bytes is cut off", ErrFormat, kind, size)
		}
		switch kind {
		case extBackingFormat:
			i.BackingFormat = string(b[:size])
		case extDataFile:
			i.DataFile = true
		case extCrypto:
			i.Encrypted = true
		}
		b = b[min((size+7)&^7, int64(len(b))):]
	}
	return nil
}

// readSome fills b from offset as far as the file goes.
func readSome(r io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := r.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
