package guest

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The layout of the qcow2 files written here: 64 KiB clusters, one each for the
// header, the refcount table, the refcount block, the L1 table and the L2 table,
// then the data. One L2 table covers 512 MiB, many times what a guest has.
const (
	clusterBits = 16
	clusterSize = 1 << clusterBits
	qcow2Max    = clusterSize / 8 * clusterSize

	refcountTable = 1 * clusterSize
	refcountBlock = 2 * clusterSize
	l1Table       = 3 * clusterSize
	l2Table       = 4 * clusterSize
	firstData     = 5 * clusterSize

	inUseOnce = 1 << 63 // in entries of L1 and L2 tables: the refcount is 1
)

// encodeQcow2 stores a raw disk as qcow2 version 3, leaving out what is zero.
func encodeQcow2(disk []byte) ([]byte, error) {
	if len(disk) > qcow2Max {
		return nil, fmt.Errorf("guest: a disk of %d bytes, at most %d fit in qcow2 here: use raw", len(disk), qcow2Max)
	}
	put := binary.BigEndian
	out := make([]byte, firstData)
	zero := make([]byte, clusterSize)
	for i := 0; i*clusterSize < len(disk); i++ {
		data := disk[i*clusterSize : min(len(disk), (i+1)*clusterSize)]
		if bytes.Equal(data, zero[:len(data)]) {
			continue
		}
		put.PutUint64(out[l2Table+i*8:], uint64(len(out))|inUseOnce)
		out = append(out, data...)
		out = append(out, zero[len(data):]...)
	}
	put.PutUint64(out[l1Table:], l2Table|inUseOnce)
	put.PutUint64(out[refcountTable:], refcountBlock)
	for i := range len(out) / clusterSize {
		put.PutUint16(out[refcountBlock+i*2:], 1)
	}

	copy(out, "QFI\xfb")
	put.PutUint32(out[4:], 3)
	put.PutUint32(out[20:], clusterBits)
	put.PutUint64(out[24:], uint64(len(disk)))
	put.PutUint32(out[36:], 1) // entries of the L1 table
	put.PutUint64(out[40:], l1Table)
	put.PutUint64(out[48:], refcountTable)
	put.PutUint32(out[56:], 1)    // clusters of the refcount table
	put.PutUint32(out[96:], 4)    // refcounts have 1<<4 bits
	put.PutUint32(out[100:], 104) // length of this header
	return out, nil
}
