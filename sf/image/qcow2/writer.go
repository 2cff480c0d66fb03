package qcow2

import (
	"bytes"
	"encoding/binary"
	"os"
)

// writer makes a new image from its data in order. Clusters are appended as they
// come, tables when they are full, the counts at the end, and the header last of
// all: a file that was cut short by a crash has none.
type writer struct {
	layout
	file  *os.File
	end   int64 // of the file, bytes
	zero  []byte
	l1    []byte
	l2    []byte
	table int64 // which L2 table l2 is, -1 for none
}

func newWriter(path string, size int64) (*writer, error) {
	l, err := newLayout(Options{Size: size})
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &writer{
		layout: l, file: f, end: (1 + l.l1Tabs) << l.bits, table: -1,
		zero: make([]byte, l.ClusterSize), l1: make([]byte, l.l1Tabs<<l.bits), l2: make([]byte, l.ClusterSize),
	}, nil
}

// write puts whole clusters at a disk offset behind all that were written.
func (w *writer) write(p []byte, offset int64) error {
	for len(p) > 0 {
		n := int64(0)
		for n < int64(len(p)) && w.isZero(p[n:]) {
			n += w.ClusterSize
		}
		p, offset = p[n:], offset+n
		perTable := w.ClusterSize / 8
		index := offset >> w.bits
		room := (perTable - index%perTable) << w.bits
		for n = 0; n < min(room, int64(len(p))) && !w.isZero(p[n:]); n += w.ClusterSize {
		}
		if n == 0 {
			continue
		}
		if err := w.turn(index / perTable); err != nil {
			return err
		}
		for k := range n >> w.bits {
			binary.BigEndian.PutUint64(w.l2[(index%perTable+k)*8:], uint64(w.end+k<<w.bits)|flagCopied)
		}
		if err := w.append(p[:n]); err != nil {
			return err
		}
		p, offset = p[n:], offset+n
	}
	return nil
}

func (w *writer) isZero(p []byte) bool { return bytes.Equal(p[:w.ClusterSize], w.zero) }

// append writes whole clusters at the end of the file.
func (w *writer) append(p []byte) error {
	_, err := w.file.WriteAt(p, w.end)
	w.end += int64(len(p))
	return err
}

// turn makes table the current L2 table, and writes the one before.
func (w *writer) turn(table int64) error {
	if table == w.table {
		return nil
	}
	if w.table >= 0 {
		binary.BigEndian.PutUint64(w.l1[w.table*8:], uint64(w.end)|flagCopied)
		if err := w.append(w.l2); err != nil {
			return err
		}
		clear(w.l2)
	}
	w.table = table
	return nil
}

// finish writes the tables, and when all is on disk the header.
func (w *writer) finish() error {
	if err := w.turn(-1); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(w.l1, 1<<w.bits); err != nil {
		return err
	}
	header, err := w.counts()
	if err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(header, 0); err != nil {
		return err
	}
	return w.file.Sync()
}

// counts appends the refcounts, all of which are one, and returns the header.
func (w *writer) counts() ([]byte, error) {
	used := w.end >> w.bits
	for w.refTable, w.refBlocks = 1, 1; ; {
		blocks := w.clusters((used + w.refTable + w.refBlocks) * 2)
		table := w.clusters(blocks * 8)
		if blocks == w.refBlocks && table == w.refTable {
			break
		}
		w.refBlocks, w.refTable = blocks, table
	}
	table := make([]byte, w.refTable<<w.bits)
	refOffset := w.end
	for i := range w.refBlocks {
		binary.BigEndian.PutUint64(table[i*8:], uint64(refOffset+(w.refTable+i)<<w.bits))
	}
	if err := w.append(table); err != nil {
		return nil, err
	}
	block := make([]byte, w.ClusterSize)
	for left := used + w.refTable + w.refBlocks; left > 0; left -= w.ClusterSize / 2 {
		clear(block)
		for i := range min(left, w.ClusterSize/2) {
			binary.BigEndian.PutUint16(block[i*2:], 1)
		}
		if err := w.append(block); err != nil {
			return nil, err
		}
	}
	b := w.header()
	binary.BigEndian.PutUint64(b[40:], 1<<w.bits)
	binary.BigEndian.PutUint64(b[48:], uint64(refOffset))
	return b, nil
}
