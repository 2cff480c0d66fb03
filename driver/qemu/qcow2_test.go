package qemu

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// header builds a qcow2 version 3 header with a backing file.
func header(path, format string) []byte {
	h := make([]byte, 512)
	binary.BigEndian.PutUint32(h, qcow2Magic)
	binary.BigEndian.PutUint32(h[4:], 3)
	binary.BigEndian.PutUint32(h[100:], 104)
	at := 104
	if format != "" {
		binary.BigEndian.PutUint32(h[at:], qcow2FormatExt)
		binary.BigEndian.PutUint32(h[at+4:], uint32(len(format)))
		copy(h[at+8:], format)
	}
	if path != "" {
		binary.BigEndian.PutUint64(h[8:], 256)
		binary.BigEndian.PutUint32(h[16:], uint32(len(path)))
		copy(h[256:], path)
	}
	return h
}

func TestReadBacking(t *testing.T) {
	dataFile := header("", "")
	dataFile[79] = qcow2DataFile
	version4 := header("", "")
	version4[7] = 4
	outside := header("x", "raw")
	binary.BigEndian.PutUint64(outside[8:], 1<<63)
	tests := []struct {
		name   string
		header []byte
		want   backing
		fails  string
	}{
		{"no backing file", header("", ""), backing{}, ""},
		{"relative", header("../base", "raw"), backing{"../base", "raw"}, ""},
		{"absolute", header("/srv/a:b", "qcow2"), backing{"/srv/a:b", "qcow2"}, ""},
		{"no format", header("/srv/base", ""), backing{}, "format"},
		{"odd format", header("/srv/base", "vmdk"), backing{}, "format"},
		{"protocol", header("nbd://x/y", "raw"), backing{}, "plain path"},
		{"json", header(`json:{"driver":"file"}`, "raw"), backing{}, "plain path"},
		{"data file", dataFile, backing{}, "another file"},
		{"version", version4, backing{}, "version 4"},
		{"outside", outside, backing{}, "broken"},
		{"short", []byte("QFI\xfb"), backing{}, "not a qcow2"},
		{"raw", make([]byte, 512), backing{}, "not a qcow2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readBacking(bytes.NewReader(tt.header))
			if got != tt.want || (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzReadBacking(f *testing.F) {
	f.Add(header("/srv/base", "qcow2"))
	f.Add(header("", ""))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := readBacking(bytes.NewReader(data))
		if err == nil && b.Path != "" && b.Format != "raw" && b.Format != "qcow2" {
			t.Fatalf("accepted %+v", b)
		}
	})
}
