package qcow2

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Layout of a new image, in clusters: header, refcount table, refcount block,
// then the L1 table.
const (
	clusterBits = 16
	cluster     = 1 << clusterBits
	l1At        = 3
	perL1       = cluster * cluster / 8 // bytes of disk that one L1 entry stands for
	maxSize     = 1 << 50               // bytes; what one refcount block suffices to begin with
)

// Create makes or empties a file and makes it an empty qcow2 image of size
// bytes, a multiple of 512. The file is open for reading and writing.
func Create(path string, size int64) (*os.File, error) {
	if size < 0 || size > maxSize || size%512 != 0 {
		return nil, fmt.Errorf("%s: no qcow2 image has %d bytes", path, size)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	l1 := (size + perL1 - 1) / perL1
	clusters := l1At + (8*l1+cluster-1)/cluster

	head := make([]byte, l1At*cluster)
	be := binary.BigEndian
	be.PutUint32(head[0:], magic)
	be.PutUint32(head[4:], 3)
	be.PutUint32(head[20:], clusterBits)
	be.PutUint64(head[24:], uint64(size))
	be.PutUint32(head[36:], uint32(l1))
	be.PutUint64(head[40:], l1At*cluster)
	be.PutUint64(head[48:], cluster) // the refcount table,
	be.PutUint32(head[56:], 1)       // of one cluster
	be.PutUint32(head[96:], 4)       // refcounts of 1<<4 bits
	be.PutUint32(head[100:], 104)    // length of this header
	be.PutUint64(head[cluster:], 2*cluster)
	for i := range clusters {
		be.PutUint16(head[2*cluster+2*i:], 1)
	}
	if _, err = f.WriteAt(head, 0); err == nil {
		err = f.Truncate(clusters * cluster)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
