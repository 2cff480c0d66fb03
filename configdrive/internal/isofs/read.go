package isofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Limits bound what Read takes from an image that it cannot trust.
type Limits struct {
	Files int   // and as many directories
	Bytes int64 // of directories and distinct contents together
}

// Volume is what is on an image.
type Volume struct {
	Label string
	// Files in the order of the directories. What shares blocks shares Data.
	Files []File
}

// Read lists and reads the size bytes of r, an image that anyone may have
// written: it never takes more than limits. Names are taken as Linux takes them:
// from Rock Ridge, else from Joliet, else plain in lower case. Symbolic links and
// devices are left out. Errors wrap ErrFormat or ErrTooLarge, or are r's own.
func Read(r io.ReaderAt, size int64, limits Limits) (Volume, error) {
	v := reader{r: r, size: size, limits: limits, dirs: map[uint32]bool{}, data: map[span][]byte{}, paths: map[string]bool{}}
	primary, joliet, err := v.descriptors()
	if err != nil {
		return Volume{}, err
	}
	root, err := parseRecord(primary[156:190])
	if err != nil {
		return Volume{}, fmt.Errorf("root directory: %w", err)
	}
	if err := v.findRockRidge(root); err != nil {
		return Volume{}, err
	}
	if !v.rockRidge && joliet != nil {
		v.joliet = true
		if root, err = parseRecord(joliet[156:190]); err != nil {
			return Volume{}, fmt.Errorf("joliet root directory: %w", err)
		}
	}
	if err := v.walk("", root.span, 1); err != nil {
		return Volume{}, err
	}
	return Volume{Label: strings.TrimRight(string(primary[40:72]), " \x00"), Files: v.files}, nil
}

// span is a run of bytes from the beginning of a sector.
type span struct{ sector, size uint32 }

// reader walks one image.
type reader struct {
	r      io.ReaderAt
	size   int64
	limits Limits

	joliet    bool
	rockRidge bool
	skip      int // bytes before Rock Ridge in each record

	dirs  map[uint32]bool // sectors of directories seen
	data  map[span][]byte // contents read
	paths map[string]bool
	files []File
}

// read returns size bytes at offset in sector, and counts them.
func (v *reader) read(sector, offset, size uint32) ([]byte, error) {
	at := int64(sector)*SectorSize + int64(offset)
	if at+int64(size) > v.size {
		return nil, fmt.Errorf("%w: %d bytes at sector %d lie beyond the end", ErrFormat, size, sector)
	}
	if v.limits.Bytes -= int64(size); v.limits.Bytes < 0 {
		return nil, fmt.Errorf("%w: too many bytes", ErrTooLarge)
	}
	b := make([]byte, size)
	if n, err := v.r.ReadAt(b, at); n < len(b) {
		return nil, fmt.Errorf("sector %d: %w", sector, err)
	}
	return b, nil
}

// descriptors finds the primary volume descriptor, and Joliet's if there is one.
func (v *reader) descriptors() (primary, joliet []byte, err error) {
	for sector := uint32(sectorPrimary); sector < sectorPrimary+16; sector++ {
		b, err := v.read(sector, 0, SectorSize)
		if err != nil {
			return nil, nil, fmt.Errorf("volume descriptor: %w", err)
		}
		switch kind, escape := b[0], string(b[88:91]); {
		case string(b[1:6]) != "CD001":
			return nil, nil, fmt.Errorf("%w: sector %d is not a volume descriptor", ErrFormat, sector)
		case kind == 255 && primary != nil:
			if bs := binary.LittleEndian.Uint16(primary[128:]); bs != SectorSize {
				return nil, nil, fmt.Errorf("%w: blocks of %d bytes, want %d", ErrFormat, bs, SectorSize)
			}
			return primary, joliet, nil
		case kind == 1 && primary == nil:
			primary = b
		case kind == 2 && joliet == nil && (escape == "%/@" || escape == "%/C" || escape == "%/E"):
			joliet = b
		}
	}
	return nil, nil, fmt.Errorf("%w: no primary volume", ErrFormat)
}

// findRockRidge looks for Rock Ridge's mark in the root's first record.
func (v *reader) findRockRidge(root record) error {
	b, err := v.read(root.sector, 0, min(root.size, SectorSize))
	if err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	self, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	if u := self.use; len(u) >= 7 && string(u[:2]) == "SP" && u[4] == 0xbe && u[5] == 0xef {
		v.rockRidge, v.skip = true, int(u[6])
	}
	return nil
}

// walk reads a directory and what is below it.
func (v *reader) walk(name string, at span, depth int) error {
	if v.dirs[at.sector] || depth > maxDepth {
		return fmt.Errorf("%w: directory %q is inside itself, or too deep", ErrFormat, name)
	}
	v.dirs[at.sector] = true
	if len(v.dirs) > v.limits.Files {
		return fmt.Errorf("%w: more than %d directories", ErrTooLarge, v.limits.Files)
	}
	b, err := v.read(at.sector, 0, at.size)
	if err != nil {
		return fmt.Errorf("directory %q: %w", name, err)
	}
	for i := 0; i < len(b); {
		if b[i] == 0 { // no more in this sector
			i = (i/SectorSize + 1) * SectorSize
			continue
		}
		rec, err := parseRecord(b[i:])
		if err != nil {
			return fmt.Errorf("directory %q: %w", name, err)
		}
		i += int(b[i])
		if err := v.visit(name, rec, depth); err != nil {
			return err
		}
	}
	return nil
}

// visit takes one record of the directory dir.
func (v *reader) visit(dir string, rec record, depth int) error {
	if len(rec.ident) == 1 && rec.ident[0] <= 1 || rec.flags&flagAssociated != 0 {
		return nil
	}
	name, special, err := v.name(rec)
	if err != nil {
		return fmt.Errorf("directory %q: %w", dir, err)
	}
	full := path.Join(dir, name)
	switch {
	case strings.Contains(name, "/") || name == "." || !fs.ValidPath(full) || v.paths[full]:
		return fmt.Errorf("%w: directory %q: name %q is not possible, or there twice", ErrFormat, dir, name)
	case special:
		return nil
	}
	v.paths[full] = true
	if rec.flags&flagDir != 0 {
		return v.walk(full, rec.span, depth+1)
	}
	return v.take(full, rec)
}

// take reads a file's contents.
func (v *reader) take(name string, rec record) error {
	if rec.flags&flagMore != 0 || rec.interleaved {
		return fmt.Errorf("%w: file %q is in several pieces, which is not supported", ErrFormat, name)
	}
	if len(v.files) == v.limits.Files {
		return fmt.Errorf("%w: more than %d files", ErrTooLarge, v.limits.Files)
	}
	data, ok := v.data[rec.span]
	if !ok && rec.size > 0 {
		var err error
		if data, err = v.read(rec.sector, 0, rec.size); err != nil {
			return fmt.Errorf("file %q: %w", name, err)
		}
		v.data[rec.span] = data
	}
	v.files = append(v.files, File{Path: name, Data: data})
	return nil
}
