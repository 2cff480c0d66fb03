package qcow2

import (
	"io"
	"os"
)

// extents is a disk that knows where it holds data.
type extents interface {
	// extent reports whether there is data at offset, which is within the disk, and
	// for how many bytes at least it goes on like this. What is not data reads as
	// zeroes.
	extent(offset int64) (data bool, length int64, err error)
}

// extent asks a disk of size bytes; one that does not know is all data.
func extent(disk io.ReaderAt, offset, size int64) (data bool, length int64, err error) {
	if e, ok := disk.(extents); ok {
		return e.extent(offset)
	}
	return true, size - offset, nil
}

// rawFile is a raw disk, whose holes the file system knows.
type rawFile struct{ *os.File }
