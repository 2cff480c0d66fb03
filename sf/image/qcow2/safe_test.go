package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// header returns the first cluster of a new image.
func header(t testing.TB, o Options) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "h.qcow2")
	if err := Create(path, o); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSafe(t *testing.T) {
	put32 := func(off int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
	}
	put64 := func(off int, v uint64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
	}
	ext := func(kind uint32) func([]byte) {
		return func(b []byte) {
			binary.BigEndian.PutUint32(b[104:], kind)
			binary.BigEndian.PutUint32(b[108:], 8)
			copy(b[112:], "raw\x00\x00\x00\x00\x00")
		}
	}
	for name, tc := range map[string]struct {
		edit func([]byte)
		want error
		text string
	}{
		"clean":              {func([]byte) {}, nil, ""},
		"dirty":              {put64(72, 1), nil, ""},
		"corrupt":            {put64(72, 2), ErrUnsafe, "corrupt"},
		"data file bit":      {put64(72, 4), ErrUnsafe, "external file"},
		"data file name":     {ext(extDataFile), ErrUnsafe, "external file"},
		"extended L2":        {put64(72, 16), ErrUnsafe, "0x10"},
		"future":             {put64(72, 1<<40), ErrUnsafe, "0x10000000000"},
		"encrypted":          {put32(32, 2), ErrUnsafe, "encrypted"},
		"crypto header":      {ext(extCrypto), ErrUnsafe, "encrypted"},
		"backing":            {func(b []byte) { put64(8, 200)(b); put32(16, 4)(b); copy(b[200:], "/etc") }, ErrUnsafe, "/etc"},
		"backing far":        {func(b []byte) { put64(8, 1<<40)(b); put32(16, 4)(b) }, ErrFormat, "outside"},
		"backing long":       {func(b []byte) { put64(8, 200)(b); put32(16, 5000)(b) }, ErrFormat, "5000"},
		"backing overflow":   {func(b []byte) { put64(8, 1<<64-2)(b); put32(16, 4)(b) }, ErrFormat, "outside"},
		"version":            {put32(4, 9), ErrFormat, "version 9"},
		"cluster":            {put32(20, 40), ErrFormat, "2^40"},
		"huge disk":          {put64(24, 1<<63), ErrFormat, "virtual size"},
		"L1 short":           {put64(24, 1<<40), ErrFormat, "too small"},
		"L1 bomb":            {put32(36, 1<<30), ErrFormat, "L1 table"},
		"L1 place":           {put64(40, 77), ErrFormat, "0x4d"},
		"L1 negative":        {put64(40, 1<<63), ErrFormat, "L1"},
		"refcounts":          {put32(56, 1<<20), ErrFormat, "refcount"},
		"snapshots":          {put32(60, 1<<20), ErrFormat, "snapshots"},
		"header size":        {put32(100, 1<<30), ErrFormat, "header"},
		"extension cut":      {put32(104, 5), nil, ""}, // a zero length, unknown: skipped
		"extension too long": {func(b []byte) { put32(104, 5)(b); put32(108, 1<<31)(b) }, ErrFormat, "extension"},
		"compression":        {func(b []byte) { put64(72, 8)(b); put32(100, 112)(b); b[104] = 7 }, ErrFormat, "compression"},
		"zstd":               {func(b []byte) { put64(72, 8)(b); put32(100, 112)(b); b[104] = 1 }, nil, ""},
		"empty":              {func(b []byte) { clear(b) }, ErrFormat, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			b := header(t, Options{Size: 1 << 20})
			tc.edit(b)
			info, err := Inspect(bytes.NewReader(b))
			if err == nil {
				err = info.Safe()
			}
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%q does not mention %q", err, tc.text)
			}
		})
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(header(f, Options{Size: 1 << 20})[:1024])
	f.Add(header(f, Options{Size: 1 << 30, BackingFile: "base", BackingFormat: "raw"})[:1024])
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Inspect(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("unclassified: %v", err)
			}
			return
		}
		if info.VirtualSize < 0 || info.ClusterSize < 512 || len(info.BackingFile) > maxBackingName {
			t.Errorf("nonsense accepted: %+v", info)
		}
		if info.Safe() == nil && info.BackingFile != "" {
			t.Errorf("a backing file is called safe")
		}
	})
}

// FuzzReader feeds whole images, small ones, to the reader and to Check.
func FuzzReader(f *testing.F) {
	f.Add(header(f, Options{Size: 1 << 20, ClusterSize: 4096}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		r, err := NewReader(bytes.NewReader(b), nil, 0)
		if err != nil {
			return
		}
		p := make([]byte, 8192)
		for _, off := range []int64{0, 100, r.Size() / 2, r.Size() - 1} {
			r.ReadAt(p, max(off, 0))
		}
		Check(t.Context(), bytes.NewReader(b), int64(len(b)))
	})
}
