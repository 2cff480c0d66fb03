package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// Check walks the tables of an image whose file has size bytes, and reports the
// first entry that points outside of it: a download that was cut off, or damage.
// It reads the tables only, never the data, and trusts nothing. Errors wrap
// ErrFormat, or are ctx's or the file's.
func Check(ctx context.Context, file io.ReaderAt, size int64) error {
	i, err := Inspect(file)
	if err != nil {
		return err
	}
	l1 := make([]byte, i.l1Needed(i.VirtualSize)*8) // what lies behind is not used
	if err := readFull(file, l1, i.l1Offset); err != nil {
		return fmt.Errorf("read the L1 table: %w", err)
	}
	l2 := make([]byte, i.ClusterSize)
	for n := range int64(len(l1) / 8) {
		if err := ctx.Err(); err != nil {
			return err
		}
		table := int64(binary.BigEndian.Uint64(l1[n*8:]) & offsetMask)
		if table == 0 {
			continue
		}
		if table&(i.ClusterSize-1) != 0 {
			return fmt.Errorf("%w: L2 table %d is at %#x", ErrFormat, n, table)
		}
		if err := readFull(file, l2, table); err != nil {
			return fmt.Errorf("read L2 table %d: %w", n, err)
		}
		if err := i.checkL2(l2, size); err != nil {
			return fmt.Errorf("L2 table %d: %w", n, err)
		}
	}
	return nil
}

// checkL2 checks that the clusters of one table begin within the file.
func (i Info) checkL2(l2 []byte, size int64) error {
	for n := 0; n < len(l2); n += 8 {
		entry := binary.BigEndian.Uint64(l2[n:])
		if entry&flagCompressed != 0 {
			if offset, _ := i.extent(entry); offset >= size {
				return fmt.Errorf("%w: entry %d points to %#x, beyond the end at %#x", ErrFormat, n/8, offset, size)
			}
			continue
		}
		offset := int64(entry & offsetMask)
		if offset != 0 && offset&(i.ClusterSize-1) != 0 {
			return fmt.Errorf("%w: entry %d points to %#x, which is not aligned", ErrFormat, n/8, offset)
		}
		// The last data cluster may be cut short at the end of the disk.
		if offset >= size && offset != 0 {
			return fmt.Errorf("%w: entry %d points to %#x, beyond the end at %#x", ErrFormat, n/8, offset, size)
		}
	}
	return nil
}
