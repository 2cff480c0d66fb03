package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// Options of a new image.
type Options struct {
	// Size of the disk in bytes, a positive multiple of 512.
	Size int64
	// ClusterSize in bytes, a power of two from 4 KiB to 2 MiB; 0 is 64 KiB. A
	// bigger one makes smaller tables and copies more on a first write.
	ClusterSize int64
	// BackingFile is what unwritten parts read from; empty is zeroes. A relative
	// name is relative to the directory of the new image.
	BackingFile string
	// BackingFormat, "raw" or "qcow2", is required with a BackingFile, so that
	// nobody ever guesses it from what a guest may have written.
	BackingFormat string
	// Mode of the new file; 0 is 0600.
	Mode fs.FileMode
}

// Validate returns an error that says what is wrong and what would be accepted.
func (o Options) Validate() error {
	_, err := newLayout(o)
	return err
}

// Create makes a new image at path, which must not exist, in constant time. It
// does not look at the backing file and does not sync; on an error nothing is
// left. Options are checked as Validate does.
func Create(path string, o Options) (err error) {
	l, err := newLayout(o)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	mode := o.Mode
	if mode == 0 {
		mode = 0o600
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(path)
		}
	}()
	return l.write(f)
}

// layout is where the tables of a new image lie: the header, the refcount table,
// the refcount blocks, the L1 table, in this order and without gaps.
type layout struct {
	Options
	bits                        uint
	refTable, refBlocks, l1Tabs int64 // clusters
	l1Size                      int64 // entries
}

func newLayout(o Options) (layout, error) {
	if o.ClusterSize == 0 {
		o.ClusterSize = 1 << defaultClusterBits
	}
	l := layout{Options: o}
	for l.bits = 12; l.bits <= maxClusterBits && int64(1)<<l.bits != o.ClusterSize; l.bits++ {
	}
	switch {
	case l.bits > maxClusterBits:
		return l, fmt.Errorf("a cluster size of %d bytes: use a power of two from 4096 to 2097152", o.ClusterSize)
	case o.Size <= 0 || o.Size%512 != 0:
		return l, fmt.Errorf("a disk of %d bytes: use a positive multiple of 512", o.Size)
	case o.Size > math.MaxInt64>>1:
		return l, fmt.Errorf("a disk of %d bytes: too large", o.Size)
	case o.BackingFile != "" && o.BackingFormat != "raw" && o.BackingFormat != "qcow2":
		return l, fmt.Errorf("backing format %q: use raw or qcow2", o.BackingFormat)
	case len(o.BackingFile) > maxBackingName:
		return l, fmt.Errorf("a backing file name of %d bytes: at most %d", len(o.BackingFile), maxBackingName)
	}
	l.l1Size = Info{clusterBits: l.bits}.l1Needed(o.Size)
	if l.l1Size*8 > maxL1Bytes {
		return l, fmt.Errorf("a disk of %d bytes with clusters of %d: too large, use bigger clusters", o.Size, o.ClusterSize)
	}
	l.l1Tabs = l.clusters(l.l1Size * 8)
	// The refcounts also count the clusters that hold them.
	for l.refTable, l.refBlocks = 1, 1; ; {
		blocks := l.clusters(l.total() * 2)
		table := l.clusters(blocks * 8)
		if blocks == l.refBlocks && table == l.refTable {
			return l, nil
		}
		l.refBlocks, l.refTable = blocks, table
	}
}

// clusters is how many clusters hold n bytes.
func (l layout) clusters(n int64) int64 { return (n + l.ClusterSize - 1) >> l.bits }

// total is how many clusters the new file has.
func (l layout) total() int64 { return 1 + l.refTable + l.refBlocks + l.l1Tabs }

// write puts the image into an empty file. The L1 table is a hole: all zero.
func (l layout) write(f *os.File) error {
	if err := f.Truncate(l.total() << l.bits); err != nil {
		return err
	}
	if _, err := f.WriteAt(l.header(), 0); err != nil {
		return err
	}
	table := make([]byte, l.refBlocks*8)
	for i := range l.refBlocks {
		binary.BigEndian.PutUint64(table[i*8:], uint64((1+l.refTable+i)<<l.bits))
	}
	if _, err := f.WriteAt(table, 1<<l.bits); err != nil {
		return err
	}
	counts := make([]byte, l.total()*2)
	for i := range l.total() {
		binary.BigEndian.PutUint16(counts[i*2:], 1)
	}
	_, err := f.WriteAt(counts, (1+l.refTable)<<l.bits)
	return err
}

// header is the fixed part, the backing format extension and the backing name.
func (l layout) header() []byte {
	b := make([]byte, headerV3, 512)
	be := binary.BigEndian
	copy(b, Magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], uint32(l.bits))
	be.PutUint64(b[24:], uint64(l.Size))
	be.PutUint32(b[36:], uint32(l.l1Size))
	be.PutUint64(b[40:], uint64((1+l.refTable+l.refBlocks)<<l.bits))
	be.PutUint64(b[48:], 1<<l.bits)
	be.PutUint32(b[56:], uint32(l.refTable))
	be.PutUint32(b[96:], 4) // refcount order: 16 bits
	be.PutUint32(b[100:], headerV3)
	if l.BackingFile != "" {
		b = be.AppendUint32(b, extBackingFormat)
		b = be.AppendUint32(b, uint32(len(l.BackingFormat)))
		b = append(b, l.BackingFormat...)
		b = append(b, make([]byte, -len(b)&7)...)
	}
	b = append(b, make([]byte, 8)...) // the end of the extensions
	if l.BackingFile != "" {
		be.PutUint64(b[8:], uint64(len(b)))
		be.PutUint32(b[16:], uint32(len(l.BackingFile)))
		b = append(b, l.BackingFile...)
	}
	return b
}

// Grow makes the disk in an image larger, in constant time, and syncs it. The
// same size is nil. Nobody may have the image open. A smaller size, an image
// with internal snapshots and one whose L1 table would have to move (beyond 4 TiB
// for one made by Create with 64 KiB clusters) wrap errors.ErrUnsupported.
func Grow(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := grow(f, size); err != nil {
		return fmt.Errorf("grow %s to %d bytes: %w", path, size, err)
	}
	return nil
}

func grow(f *os.File, size int64) error {
	i, err := Inspect(f)
	if err != nil {
		return err
	}
	perCluster := i.ClusterSize / 8
	room := (i.l1Size + perCluster - 1) / perCluster * perCluster
	need := i.l1Needed(size)
	switch {
	case size <= 0 || size%512 != 0:
		return errors.New("use a positive multiple of 512")
	case size == i.VirtualSize:
		return nil
	case size < i.VirtualSize:
		return fmt.Errorf("it has %d bytes and disks do not shrink: %w", i.VirtualSize, errors.ErrUnsupported)
	case i.Snapshots > 0:
		return fmt.Errorf("it has internal snapshots: %w", errors.ErrUnsupported)
	case i.Incompatible&^featureCompression != 0:
		return fmt.Errorf("it is not clean or has features %#x: %w", i.Incompatible, errors.ErrUnsupported)
	case need > room:
		return fmt.Errorf("its L1 table has room for %d bytes: %w", room<<(2*i.clusterBits-3), errors.ErrUnsupported)
	}
	need = max(need, i.l1Size)
	if extra := need - i.l1Size; extra > 0 {
		// The tail of the table's last cluster: unused so far, whatever it holds.
		if _, err := f.WriteAt(make([]byte, extra*8), i.l1Offset+i.l1Size*8); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	// Size, encryption (none) and L1 size are neighbours: one write within a
	// sector, so that a crash leaves the old header or the new.
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, uint64(size))
	binary.BigEndian.PutUint32(b[12:], uint32(need))
	if _, err := f.WriteAt(b, 24); err != nil {
		return err
	}
	return f.Sync()
}
