package qemu

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Layout of a new image, in clusters: header, refcount table, refcount block,
// then the L1 table.
const (
	qcow2ClusterBits = 16
	qcow2Cluster     = 1 << qcow2ClusterBits
	qcow2L1At        = 3
	qcow2PerL1       = qcow2Cluster * qcow2Cluster / 8 // bytes of disk that one L1 entry stands for
	qcow2MaxSize     = 1 << 50                         // bytes; what one refcount block suffices to begin with
)

// createQCOW2 makes or empties a file and makes it an empty qcow2 image of size
// bytes, a multiple of 512. The file is open for reading and writing.
func createQCOW2(path string, size int64) (*os.File, error) {
	if size < 0 || size > qcow2MaxSize || size%512 != 0 {
		return nil, fmt.Errorf("%s: no qcow2 image has %d bytes", path, size)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	l1 := (size + qcow2PerL1 - 1) / qcow2PerL1
	clusters := qcow2L1At + (8*l1+qcow2Cluster-1)/qcow2Cluster

	head := make([]byte, qcow2L1At*qcow2Cluster)
	be := binary.BigEndian
	be.PutUint32(head[0:], qcow2Magic)
	be.PutUint32(head[4:], 3)
	be.PutUint32(head[20:], qcow2ClusterBits)
	be.PutUint64(head[24:], uint64(size))
	be.PutUint32(head[36:], uint32(l1))
	be.PutUint64(head[40:], qcow2L1At*qcow2Cluster)
	be.PutUint64(head[48:], qcow2Cluster) // the refcount table,
	be.PutUint32(head[56:], 1)            // of one cluster
	be.PutUint32(head[96:], 4)            // refcounts of 1<<4 bits
	be.PutUint32(head[100:], 104)         // length of this header
	be.PutUint64(head[qcow2Cluster:], 2*qcow2Cluster)
	for i := range clusters {
		be.PutUint16(head[2*qcow2Cluster+2*i:], 1)
	}
	if _, err = f.WriteAt(head, 0); err == nil {
		err = f.Truncate(clusters * qcow2Cluster)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
