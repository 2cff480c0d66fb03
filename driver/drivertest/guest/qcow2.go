package guest

import (
	"bytes"
	"encoding/binary"
)

// The layout of the qcow2 files written here: 64 KiB clusters, one cluster each
// for the header, the refcount table, the refcount block and the L1 table, then
// the L2 tables, then the data. One refcount block counts 2 GiB, far more than a
// guest has.
const (
	clusterBits = 16
	clusterSize = 1 << clusterBits
	l2Entries   = clusterSize / 8
	firstL2     = 4 // cluster number
	inUseOnce   = 1 << 63
)

// encodeQcow2 stores a raw disk as qcow2 version 3, leaving out what is zero.
func encodeQcow2(disk []byte) []byte {
	clusters := (len(disk) + clusterSize - 1) / clusterSize
	tables := (clusters + l2Entries - 1) / l2Entries
	out := make([]byte, (firstL2+tables)*clusterSize)
	zero := make([]byte, clusterSize)

	for i := range clusters {
		data := disk[i*clusterSize : min(len(disk), (i+1)*clusterSize)]
		if bytes.Equal(data, zero[:len(data)]) {
			continue
		}
		entry := firstL2*clusterSize + i*8 // the L2 tables lie behind one another
		binary.BigEndian.PutUint64(out[entry:], uint64(len(out))|inUseOnce)
		out = append(out, data...)
		out = append(out, zero[len(data):]...)
	}
	for i := range tables {
		binary.BigEndian.PutUint64(out[3*clusterSize+i*8:], uint64((firstL2+i)*clusterSize)|inUseOnce)
	}
	binary.BigEndian.PutUint64(out[1*clusterSize:], 2*clusterSize)
	for i := range len(out) / clusterSize {
		binary.BigEndian.PutUint16(out[2*clusterSize+i*2:], 1)
	}
	writeQcow2Header(out, len(disk), tables)
	return out
}

func writeQcow2Header(out []byte, size, tables int) {
	put := binary.BigEndian
	copy(out, "QFI\xfb")
	put.PutUint32(out[4:], 3)
	put.PutUint32(out[20:], clusterBits)
	put.PutUint64(out[24:], uint64(size))
	put.PutUint32(out[36:], uint32(tables)) // entries of the L1 table
	put.PutUint64(out[40:], 3*clusterSize)  // and where it is
	put.PutUint64(out[48:], 1*clusterSize)  // the refcount table
	put.PutUint32(out[56:], 1)              // and its clusters
	put.PutUint32(out[96:], 4)              // refcounts have 1<<4 bits
	put.PutUint32(out[100:], 104)           // length of the header
}
