package isofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"testing"
)

func small(t testing.TB) []byte {
	return build(t, []File{{"dir/file", []byte("contents")}, {"dir/other", []byte("more")}, {"empty dir/x", nil}})
}

// replace changes one occurrence of old, which must exist.
func replace(t testing.TB, img []byte, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(img, []byte(old)) {
		t.Fatalf("no %q in the image", old)
	}
	return bytes.Replace(img, []byte(old), []byte(new), 1)
}

func TestReadHostile(t *testing.T) {
	img := small(t)
	root := int(binary.LittleEndian.Uint32(img[sectorPrimary*SectorSize+158:])) * SectorSize
	third := root // the record after "." and ".."
	for range 2 {
		third += int(img[third])
	}
	for _, test := range []struct {
		name string
		edit func(img []byte) []byte
		want error
	}{
		{"empty", func([]byte) []byte { return nil }, ErrFormat},
		{"cut", func(b []byte) []byte { return b[:len(b)-SectorSize] }, ErrFormat},
		{"no volume", func(b []byte) []byte { return replace(t, b, "CD001", "CD002") }, ErrFormat},
		{"no end of volumes", func(b []byte) []byte { return replace(t, b, "\xffCD001", "\x03CD001") }, ErrFormat},
		{"name with a slash", func(b []byte) []byte { return replace(t, b, "\x00file", "\x00../x") }, ErrFormat},
		{"name is dots", func(b []byte) []byte { return replace(t, b, "NM\x08\x01\x00dir", "NM\x07\x01\x00..\x00") }, ErrFormat},
		{"name twice", func(b []byte) []byte { return replace(t, b, "\x0a\x01\x00other", "\x09\x01\x00filer") }, ErrFormat},
		{"directory inside itself", func(b []byte) []byte {
			copy(b[third+2:], b[root+2:root+6])
			return b
		}, ErrFormat},
		{"directory twice", func(b []byte) []byte {
			fourth := third + int(b[third])
			copy(b[fourth+2:fourth+18], b[third+2:third+18])
			return b
		}, ErrFormat},
		{"record of no length", func(b []byte) []byte { b[third] = 5; return b }, ErrFormat},
		{"record beyond the end", func(b []byte) []byte { b[third] = 255; b[third+32] = 254; return b }, ErrFormat},
		{"directory of 4 GiB", func(b []byte) []byte { b[third+13] = 0xff; return b }, ErrFormat},
		{"continuation for ever", func(b []byte) []byte {
			use := bytes.Index(b[third:], []byte{'R', 'R', 5, 1}) + third
			a := area{sector: uint32(use / SectorSize), offset: uint32(use % SectorSize), data: make([]byte, ceSize)}
			copy(b[use:], a.continuation()) // points at itself
			return b
		}, ErrFormat},
		{"relocated directory", func(b []byte) []byte { return replace(t, b, "NM\x08", "CL\x08") }, ErrFormat},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := test.edit(bytes.Clone(img))
			_, err := Read(bytes.NewReader(b), int64(len(b)), Limits{Files: 100, Bytes: 1 << 20})
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestReadLimits(t *testing.T) {
	img := build(t, sample())
	for _, limits := range []Limits{{}, {Files: 10, Bytes: 1 << 30}, {Files: 1000, Bytes: 30000}} {
		_, err := Read(bytes.NewReader(img), int64(len(img)), limits)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: error %v, want ErrTooLarge", limits, err)
		}
	}
}

// FuzzRead: any bytes end in a volume with possible paths, or in an error. A few
// edits at a time keep most of the structure, so that the depths are reached.
func FuzzRead(f *testing.F) {
	base := build(f, sample()[:11])
	f.Add([]byte{}, false)
	f.Add([]byte{0x80, 0x9e, 0x01}, true)
	f.Fuzz(func(t *testing.T, edits []byte, noRockRidge bool) {
		img := bytes.Clone(base)
		for ; len(edits) >= 3; edits = edits[3:] {
			at := 16*SectorSize + int(binary.BigEndian.Uint16(edits))
			img[at%len(img)] = edits[2]
		}
		if noRockRidge {
			img = withoutRockRidge(img)
		}
		v, err := Read(bytes.NewReader(img), int64(len(img)), Limits{Files: 100, Bytes: 1 << 20})
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		for _, file := range v.Files {
			if !fs.ValidPath(file.Path) {
				t.Errorf("path %q", file.Path)
			}
		}
	})
}
