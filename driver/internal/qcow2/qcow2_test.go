package qcow2

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// header makes the start of a qcow2 image.
func header(version uint32, incompatible uint64, backing, format string) []byte {
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, make([]byte, 64)...) // offset and size of the name are set below
	if version == 3 {
		b = binary.BigEndian.AppendUint64(b, incompatible)
		b = append(b, make([]byte, 20)...)
		b = binary.BigEndian.AppendUint32(b, 104)
	}
	if format != "" {
		b = binary.BigEndian.AppendUint32(b, formatExt)
		b = binary.BigEndian.AppendUint32(b, uint32(len(format)))
		b = append(append(b, format...), make([]byte, -len(format)&7)...)
	}
	b = append(b, make([]byte, 8)...)
	if backing != "" {
		binary.BigEndian.PutUint64(b[8:], uint64(len(b)))
		binary.BigEndian.PutUint32(b[16:], uint32(len(backing)))
		b = append(b, backing...)
	}
	return append(b, make([]byte, 128)...)
}

func TestReadBacking(t *testing.T) {
	outside := header(3, 0, "x", "raw")
	binary.BigEndian.PutUint64(outside[8:], 1<<63)
	for _, tt := range []struct {
		name  string
		image []byte
		want  Backing
		err   string
	}{
		{"none", header(3, 0, "", ""), Backing{}, ""},
		{"relative", header(3, 0, "../base", "qcow2"), Backing{"../base", "qcow2"}, ""},
		{"absolute", header(3, 0, "/srv/a:b", "raw"), Backing{"/srv/a:b", "raw"}, ""},
		{"version 2", header(2, 0, "/x/base", "raw"), Backing{"/x/base", "raw"}, ""},
		{"version 4", header(4, 0, "", ""), Backing{}, "version 4"},
		{"raw data", make([]byte, 512), Backing{}, "not a qcow2"},
		{"empty", nil, Backing{}, "not a qcow2"},
		{"short", []byte("QFI\xfb"), Backing{}, "not a qcow2"},
		{"data elsewhere", header(3, dataFile, "", ""), Backing{}, "another file"},
		{"no format", header(3, 0, "base", ""), Backing{}, `format ""`},
		{"another format", header(3, 0, "base", "vmdk"), Backing{}, `format "vmdk"`},
		{"protocol", header(3, 0, "nbd://host/x", "raw"), Backing{}, "not a plain path"},
		{"json", header(3, 0, `json:{"driver":"file"}`, "raw"), Backing{}, "not a plain path"},
		{"zero byte", header(3, 0, "base\x00", "raw"), Backing{}, "not a plain path"},
		{"long name", header(3, 0, strings.Repeat("x", 1024), "raw"), Backing{}, "broken"},
		{"outside", outside, Backing{}, "broken"},
	} {
		got, err := readBacking(bytes.NewReader(tt.image))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
	}
}

// A relative path is one from the image that has it; errors name that.
func TestBelow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	for _, tt := range []struct{ backing, want string }{
		{"", ""}, {"/srv/base", "/srv/base"}, {"base", filepath.Join(filepath.Dir(path), "base")},
	} {
		format := "raw"
		if tt.backing == "" {
			format = ""
		}
		if err := os.WriteFile(path, header(3, 0, tt.backing, format), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := Below(f, nil); b != (Backing{tt.want, format}) || err != nil {
			t.Errorf("below %q: %+v, %v", tt.backing, b, err)
		}
		f.Close()
		if _, err := Below(f, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("of a closed file: %v", err)
		}
	}
}

// Whatever an image says of itself, what is read of it is a plain path of a
// stated format, or an error.
func FuzzReadBacking(f *testing.F) {
	f.Add(header(3, 0, "base", "qcow2"))
	f.Add(header(2, 0, "/x", "raw"))
	f.Add(header(3, 1, "", ""))
	f.Add(header(3, 0, "", "raw"))
	f.Fuzz(func(t *testing.T, image []byte) {
		b, err := readBacking(bytes.NewReader(image))
		if err != nil {
			return
		}
		if (b.Path == "") != (b.Format == "") || strings.Contains(strings.SplitN(b.Path, "/", 2)[0], ":") || strings.ContainsRune(b.Path, 0) {
			t.Errorf("got %+v", b)
		}
		if b.Format != "" && b.Format != "raw" && b.Format != "qcow2" {
			t.Errorf("got %+v", b)
		}
	})
}
