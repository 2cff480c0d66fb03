package isofs

import (
	"fmt"
	"math"
)

// The first sectors are fixed: 16 unused ones, then the volume descriptors.
const (
	sectorPrimary    = 16
	sectorJoliet     = 17
	sectorTerminator = 18
	sectorFirstFree  = 19
)

// image is a volume on its way to bytes.
type image struct {
	label   string
	stamp   stamp
	trees   [2]*tree // Rock Ridge, Joliet
	extents []*extent
	sectors uint32
}

// recordSize is the size of a directory record; records have even sizes.
func recordSize(ident, use int) int {
	size := 33 + ident
	size += size % 2
	return size + use + use%2
}

func (e *entry) size() int {
	use := len(e.use)
	if e.more != nil {
		use += ceSize
	}
	return recordSize(len(e.ident), use)
}

// layout gives everything its place: path tables, directories, Rock Ridge
// areas, contents.
func (img *image) layout() error {
	next := uint64(sectorFirstFree)
	take := func(size uint64) uint32 {
		at := next
		next += (size + SectorSize - 1) / SectorSize
		return uint32(at)
	}
	for _, t := range img.trees {
		if len(t.dirs) > math.MaxUint16 {
			return fmt.Errorf("%w: %d directories, want at most %d", ErrInvalid, len(t.dirs), math.MaxUint16)
		}
		for i := range t.tables {
			t.tables[i] = take(uint64(t.tableSize()))
		}
	}
	for _, t := range img.trees {
		for _, d := range t.dirs {
			d.size = d.measure()
			d.sector = take(uint64(d.size))
		}
	}
	img.placeAreas(take)
	for _, x := range img.extents {
		x.sector = take(uint64(len(x.data)))
	}
	if next > math.MaxUint32 {
		return fmt.Errorf("%w: %d sectors in all, want less than 2^32", ErrInvalid, next)
	}
	img.sectors = uint32(next)
	return nil
}

// placeAreas packs the areas into sectors; Linux wants none to cross a border.
func (img *image) placeAreas(take func(uint64) uint32) {
	var sector, used uint32 = 0, SectorSize
	for _, d := range img.trees[0].dirs {
		for _, e := range d.entries {
			if e.more == nil {
				continue
			}
			if used+uint32(len(e.more.data)) > SectorSize {
				sector, used = take(SectorSize), 0
			}
			e.more.sector, e.more.offset = sector, used
			used += uint32(len(e.more.data))
		}
	}
}

// measure is the size of d's records in bytes; none crosses a sector's border.
func (d *dir) measure() uint32 {
	at := 0
	for _, e := range d.entries {
		at = skipBorder(at, e.size()) + e.size()
	}
	return uint32((at + SectorSize - 1) / SectorSize * SectorSize)
}

// skipBorder returns where a record of the given size may begin, from at on.
func skipBorder(at, size int) int {
	if at%SectorSize+size > SectorSize {
		return (at/SectorSize + 1) * SectorSize
	}
	return at
}

// tableSize is the size in bytes of one path table of t.
func (t *tree) tableSize() int {
	size := 0
	for _, d := range t.dirs {
		size += 8 + len(d.ident) + len(d.ident)%2
	}
	return size
}
