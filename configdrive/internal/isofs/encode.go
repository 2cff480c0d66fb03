package isofs

import (
	"encoding/binary"
	"strings"
)

// Flags of a directory record.
const flagDir = 2

// encode writes an image whose layout is done.
func (img *image) encode() []byte {
	out := make([]byte, int(img.sectors)*SectorSize)
	sector := func(n uint32) []byte { return out[int(n)*SectorSize:] }

	copy(sector(sectorPrimary), img.descriptor(1, img.trees[0]))
	copy(sector(sectorJoliet), img.descriptor(2, img.trees[1]))
	copy(sector(sectorTerminator), "\xffCD001\x01")
	for _, t := range img.trees {
		copy(sector(t.tables[0]), t.table(binary.LittleEndian))
		copy(sector(t.tables[1]), t.table(binary.BigEndian))
		for _, d := range t.dirs {
			to, at := sector(d.sector), 0
			for _, e := range d.entries {
				at = skipBorder(at, e.size())
				copy(to[at:], e.record(img.stamp))
				at += e.size()
				if e.more != nil {
					copy(sector(e.more.sector)[e.more.offset:], e.more.data)
				}
			}
		}
	}
	for _, x := range img.extents {
		copy(sector(x.sector), x.data)
	}
	return out
}

// record is e's directory record.
func (e *entry) record(s stamp) []byte {
	var at, size uint32
	var flags byte
	if e.dir != nil {
		at, size, flags = e.dir.sector, e.dir.size, flagDir
	} else {
		at, size = e.file.sector, uint32(len(e.file.data))
	}
	b := make([]byte, 0, e.size())
	b = append(b, byte(e.size()), 0)
	b = both32(b, at)
	b = both32(b, size)
	b = append(b, s.short[:]...)
	b = append(b, flags, 0, 0)
	b = both16(b, 1)
	b = append(b, byte(len(e.ident)))
	b = append(b, e.ident...)
	b = append(b, make([]byte, len(b)%2)...)
	b = append(b, e.use...)
	if e.more != nil {
		b = append(b, e.more.continuation()...)
	}
	return append(b, make([]byte, len(b)%2)...)
}

// table is the path table of t, which lets a reader find a directory by path
// without reading those above it.
func (t *tree) table(order binary.AppendByteOrder) []byte {
	b := make([]byte, 0, t.tableSize())
	for _, d := range t.dirs {
		b = append(b, byte(len(d.ident)), 0)
		b = order.AppendUint32(b, d.sector)
		b = order.AppendUint16(b, uint16(d.parent.number))
		b = append(b, d.ident...)
		b = append(b, make([]byte, len(b)%2)...)
	}
	return b
}

// descriptor is a volume descriptor: kind 1 is the primary one, 2 Joliet's.
func (img *image) descriptor(kind byte, t *tree) []byte {
	text := func(s string, size int) []byte { return []byte(s + strings.Repeat(" ", size-len(s))) }
	escape := make([]byte, 32)
	if kind == 2 {
		text = func(s string, size int) []byte {
			b := ucs2(s + strings.Repeat(" ", size/2-len(s)))
			return append(b, make([]byte, size%2)...)
		}
		copy(escape, "%/E") // UCS-2, level 3
	}
	root := entry{spelling: spelling{ident: []byte{0}}, dir: t.dirs[0]}

	b := append(make([]byte, 0, SectorSize), kind)
	b = append(b, "CD001\x01\x00"...)
	b = append(b, text("", 32)...) // system
	b = append(b, text(img.label, 32)...)
	b = append(b, make([]byte, 8)...)
	b = both32(b, img.sectors)
	b = append(b, escape...)
	b = both16(b, 1) // volumes in the set
	b = both16(b, 1) // number of this one
	b = both16(b, SectorSize)
	b = both32(b, uint32(t.tableSize()))
	b = binary.LittleEndian.AppendUint32(b, t.tables[0])
	b = append(b, 0, 0, 0, 0) // optional second copy
	b = binary.BigEndian.AppendUint32(b, t.tables[1])
	b = append(b, 0, 0, 0, 0)
	b = append(b, root.record(img.stamp)...)
	for _, size := range []int{128, 128, 128, 128, 37, 37, 37} {
		b = append(b, text("", size)...) // set, publisher, preparer, application; three file names
	}
	for _, when := range [][17]byte{img.stamp.long, img.stamp.long, neverStamp, neverStamp} {
		b = append(b, when[:]...) // made, changed, expires, takes effect
	}
	return append(b, 1) // version of the file structure
}
