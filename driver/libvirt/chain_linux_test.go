package libvirt

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
	b := binary.BigEndian.AppendUint32(nil, qcow2Magic)
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, make([]byte, 64)...) // offset and size of the name are set below
	if version == 3 {
		b = binary.BigEndian.AppendUint64(b, incompatible)
		b = append(b, make([]byte, 20)...)
		b = binary.BigEndian.AppendUint32(b, 104)
	}
	if format != "" {
		b = binary.BigEndian.AppendUint32(b, qcow2FormatExt)
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
	for _, tt := range []struct {
		name  string
		image []byte
		want  backingFile
		err   string
	}{
		{"none", header(3, 0, "", ""), backingFile{}, ""},
		{"relative", header(3, 0, "base", "qcow2"), backingFile{"base", "qcow2"}, ""},
		{"version 2", header(2, 0, "/x/base", "raw"), backingFile{"/x/base", "raw"}, ""},
		{"raw data", make([]byte, 512), backingFile{}, "not a qcow2"},
		{"empty", nil, backingFile{}, "not a qcow2"},
		{"version 4", header(4, 0, "", ""), backingFile{}, "version 4"},
		{"data elsewhere", header(3, qcow2DataFile, "", ""), backingFile{}, "another file"},
		{"no format", header(3, 0, "base", ""), backingFile{}, `format ""`},
		{"another format", header(3, 0, "base", "vmdk"), backingFile{}, `format "vmdk"`},
		{"protocol", header(3, 0, "nbd://host/x", "raw"), backingFile{}, "not a plain path"},
		{"json", header(3, 0, `json:{"driver":"file"}`, "raw"), backingFile{}, "not a plain path"},
		{"long name", header(3, 0, strings.Repeat("x", 1024), "raw"), backingFile{}, "broken"},
	} {
		got, err := readBacking(bytes.NewReader(tt.image))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
	}
}

func TestFindChain(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("base", make([]byte, 512), 0o644)
	write("middle", header(3, 0, "base", "raw"), 0o600)
	write("top", header(3, 0, filepath.Join(dir, "middle"), "qcow2"), 0o600)
	write("loop", header(3, 0, "loop", "qcow2"), 0o600)
	chain, err := findChain(filepath.Join(dir, "top"), "qcow2")
	if err != nil || len(chain) != 2 || chain[0] != (layer{Path: filepath.Join(dir, "middle"), Format: "qcow2"}) ||
		chain[1] != (layer{Path: filepath.Join(dir, "base"), Format: "raw", Common: true}) {
		t.Errorf("got %+v, %v", chain, err)
	}
	// What says that it is raw is not asked what lies under it.
	if chain, err := findChain(filepath.Join(dir, "top"), "raw"); err != nil || chain == nil || len(chain) != 0 {
		t.Errorf("raw: got %+v, %v", chain, err)
	}
	for _, name := range []string{"loop", "none", "."} {
		if _, err := findChain(filepath.Join(dir, name), "qcow2"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Whatever an image says of itself, what is read of it is a plain path of a
// stated format, or an error.
func FuzzReadBacking(f *testing.F) {
	f.Add(header(3, 0, "base", "qcow2"))
	f.Add(header(2, 0, "/x", "raw"))
	f.Add(header(3, 1, "", ""))
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
