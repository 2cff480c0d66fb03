// Package qcow2 makes, inspects and reads QEMU's copy-on-write disk images.
//
// An overlay over an image, an empty disk, and a larger one are a matter of a
// few hundred bytes of header and tables, so they are made here without a child
// process: Create takes the same time for a gigabyte as for a terabyte. Inspect
// parses a header that nobody has vouched for and never follows what it names;
// Info.Safe says whether such a file may be given to a machine. Open reads
// through a chain of files that this host made itself.
//
// The format is written down in QEMU's docs/interop/qcow2.txt. Not covered, and
// refused by name: external data files, encryption, extended L2 entries.
package qcow2

import (
	"errors"
	"fmt"
)

// Errors of this package; compare with errors.Is.
var (
	// ErrFormat: the file is not a qcow2 image, or a damaged one.
	ErrFormat = errors.New("not a valid qcow2 image")
	// ErrUnsafe: the image would make whoever opens it read something other than
	// the image itself, or is made to exhaust the host.
	ErrUnsafe = errors.New("unsafe qcow2 image")
)

// Magic is how a qcow2 file begins.
const Magic = "QFI\xfb"

// Bits of the incompatible features field.
const (
	featureDirty       = 1 << 0 // refcounts may be behind; harmless to readers
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3 // the header names a compression type
	featureExtendedL2  = 1 << 4
)

// Types of header extensions.
const (
	extEnd           = 0
	extBackingFormat = 0xe2792aca
	extDataFile      = 0x44415441
	extCrypto        = 0x0537be77
)

const (
	minClusterBits     = 9
	maxClusterBits     = 21
	defaultClusterBits = 16
	headerV2           = 72
	headerV3           = 104
	maxL1Bytes         = 32 << 20 // QEMU's own limit
	maxRefTableBytes   = 8 << 20  // QEMU's own limit
	maxBackingName     = 1023
	maxSnapshots       = 65536

	// Entries of the L1 and L2 tables.
	offsetMask     = 0x00fffffffffffe00
	flagCopied     = 1 << 63
	flagCompressed = 1 << 62
	flagZero       = 1 << 0
)

// Compression types.
const (
	Deflate = 0
	Zstd    = 1
)

// Info is what a header says.
type Info struct {
	Version       int
	VirtualSize   int64 // bytes, as the guest sees the disk
	ClusterSize   int64 // bytes
	BackingFile   string
	BackingFormat string // empty when the header does not state it
	DataFile      bool   // guest data lies in another file
	Encrypted     bool
	Dirty         bool   // not closed cleanly; its data is whole
	Corrupt       bool   // marked as damaged by the program that wrote it
	Incompatible  uint64 // all incompatible feature bits
	Compression   int    // Deflate or Zstd, of compressed clusters
	Snapshots     int    // internal ones

	clusterBits uint
	l1Size      int64 // entries
	l1Offset    int64
	refOffset   int64
	refClusters int64
	headerSize  int64
}

// Safe returns nil when the image is self-contained and understood, so that a
// machine may be given it though a stranger made it. Otherwise the error wraps
// ErrUnsafe and says what is wrong and what would be accepted.
func (i Info) Safe() error {
	switch {
	case i.BackingFile != "":
		return fmt.Errorf("%w: it names a backing file, %q; flatten it with `qemu-img convert -O qcow2 IN OUT`", ErrUnsafe, i.BackingFile)
	case i.DataFile:
		return fmt.Errorf("%w: its data lies in an external file; convert it with `qemu-img convert -O qcow2 IN OUT`", ErrUnsafe)
	case i.Encrypted:
		return fmt.Errorf("%w: it is encrypted; decrypt it with `qemu-img convert` before publishing it", ErrUnsafe)
	case i.Corrupt:
		return fmt.Errorf("%w: it is marked as corrupt; repair it with `qemu-img check -r all`", ErrUnsafe)
	case i.Incompatible&^(featureDirty|featureCompression) != 0:
		return fmt.Errorf("%w: it needs features that are not supported (bits %#x); convert it with `qemu-img convert -O qcow2 IN OUT`",
			ErrUnsafe, i.Incompatible&^(featureDirty|featureCompression))
	}
	return nil
}
