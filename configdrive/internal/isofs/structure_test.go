package isofs

import (
	"bytes"
	"encoding/binary"
	"path"
	"strings"
	"testing"
)

// No reader at hand looks at path tables, at the order of records or at the
// second, big endian spelling of numbers; other systems' do.
func TestStructure(t *testing.T) {
	img := build(t, sample())
	for _, vol := range []struct {
		name   string
		sector int
		decode func([]byte) string
		exact  bool
	}{
		{"plain", sectorPrimary, func(b []byte) string { return string(b) }, false},
		{"joliet", sectorJoliet, fromUCS2, true},
	} {
		t.Run(vol.name, func(t *testing.T) {
			desc := img[vol.sector*SectorSize:][:SectorSize]
			size := both(t, desc[132:])
			if sectors := both(t, desc[80:]); int(sectors)*SectorSize != len(img) {
				t.Errorf("volume of %d sectors in %d bytes", sectors, len(img))
			}
			dirs := walkRecords(t, img, desc[156:190], vol.decode)
			for _, table := range []struct {
				at    uint32
				order binary.ByteOrder
			}{
				{binary.LittleEndian.Uint32(desc[140:]), binary.LittleEndian},
				{binary.BigEndian.Uint32(desc[148:]), binary.BigEndian},
			} {
				checkTable(t, img[int(table.at)*SectorSize:][:size], table.order, vol.decode, dirs)
			}
			if _, ok := dirs["openstack/2017-02-22"]; vol.exact && !ok {
				t.Errorf("no such directory in %v", dirs)
			}
		})
	}
}

// both decodes a number in double spelling.
func both(t *testing.T, b []byte) uint32 {
	t.Helper()
	le, be := binary.LittleEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if le != be {
		t.Errorf("%d little endian, %d big endian", le, be)
	}
	return le
}

// walkRecords checks every directory and returns their sectors by path.
func walkRecords(t *testing.T, img, root []byte, decode func([]byte) string) map[string]uint32 {
	dirs := make(map[string]uint32)
	var walk func(name string, rec []byte, parent uint32)
	walk = func(name string, rec []byte, parent uint32) {
		at := both(t, rec[2:])
		size := both(t, rec[10:])
		dirs[name] = at
		data := img[int(at)*SectorSize:][:size]
		last, count := "", 0
		for i := 0; i < len(data); {
			if data[i] == 0 {
				i = (i/SectorSize + 1) * SectorSize
				continue
			}
			r := data[i:][:data[i]]
			if i/SectorSize != (i+len(r)-1)/SectorSize || len(r)%2 != 0 {
				t.Errorf("%q: record at %d of %d bytes crosses a border or is odd", name, i, len(r))
			}
			if ce := bytes.Index(r, []byte{'C', 'E', ceSize, 1}); ce >= 0 {
				if offset, size := both(t, r[ce+12:]), both(t, r[ce+20:]); offset+size > SectorSize {
					t.Errorf("%q: area of %d bytes at %d crosses a border", name, size, offset)
				}
			}
			i += len(r)
			count++
			ident := r[33:][:r[32]]
			to := both(t, r[2:])
			switch {
			case count == 1:
				if !bytes.Equal(ident, []byte{0}) || to != at {
					t.Errorf("%q: first record is %q at %d, want itself at %d", name, ident, to, at)
				}
			case count == 2:
				if !bytes.Equal(ident, []byte{1}) || to != parent {
					t.Errorf("%q: second record is %q at %d, want the parent at %d", name, ident, to, parent)
				}
			default:
				if key := sortKey(decode(ident)); key <= last {
					t.Errorf("%q: %q after %q", name, key, last)
				} else {
					last = key
				}
				if r[25]&flagDir != 0 {
					walk(path.Join(name, decode(ident)), r, at)
				}
			}
		}
	}
	at := both(t, root[2:])
	walk("", root, at)
	return dirs
}

// sortKey is an identifier with what the standard pads it with: spaces after the
// plain name and extension, nothing in Joliet.
func sortKey(ident string) string {
	name, file := strings.CutSuffix(ident, ";1")
	if file && strings.ToUpper(name) == name && strings.Count(name, ".") == 1 && len(name) <= 12 {
		base, ext, _ := strings.Cut(name, ".")
		return base + strings.Repeat(" ", max(0, 8-len(base))) + ext
	}
	return name
}

// checkTable compares a path table with the directories that the records name.
func checkTable(t *testing.T, b []byte, order binary.ByteOrder, decode func([]byte) string, want map[string]uint32) {
	paths := []string{""} // by number; 0 is none
	depth, parent := 0, uint16(0)
	for len(b) > 0 {
		n := int(b[0])
		at, up, ident := order.Uint32(b[2:]), order.Uint16(b[6:]), b[8:8+n]
		b = b[8+n+n%2:]
		name := ""
		if len(paths) > 1 {
			name = path.Join(paths[up], decode(ident))
		}
		if d := strings.Count(name, "/"); d < depth || up < parent {
			t.Errorf("%q is out of order", name)
		} else {
			depth, parent = d, up
		}
		if got, ok := want[name]; !ok || got != at {
			t.Errorf("path table has %q at %d, records at %d", name, at, got)
		}
		paths = append(paths, name)
	}
	if len(paths)-1 != len(want) {
		t.Errorf("%d directories in the path table, %d in records", len(paths)-1, len(want))
	}
}
