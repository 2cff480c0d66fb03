package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"

	"github.com/shakenfist/cloud/sf/image/qcow2"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// pipe runs a program as a filter.
func pipe(t testing.TB, in []byte, program, debian string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(need.Program(t, program, debian), args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

// The walker understands what xz itself writes, in all shapes, to the end.
func TestCheckXZ(t *testing.T) {
	raw := rawImage(1 << 20)
	for name, args := range map[string][]string{
		"plain":     nil,
		"best":      {"-9e"},
		"crc32":     {"--check=crc32"},
		"sha256":    {"--check=sha256"},
		"unchecked": {"--check=none"},
		"blocks":    {"-T2", "--block-size=100000"},
	} {
		t.Run(name, func(t *testing.T) {
			packed := pipe(t, raw, "xz", "xz-utils", append([]string{"-c"}, args...)...)
			s := new(xzScanner)
			s.reset(bytes.NewReader(packed))
			if err := s.stream(); err != nil || s.at != int64(len(packed)) {
				t.Errorf("walked to %d of %d, %v", s.at, len(packed), err)
			}
			two := append(append(bytes.Clone(packed), 0, 0, 0, 0), packed...)
			if err := checkXZ(bytes.NewReader(two)); err != nil {
				t.Errorf("two streams: %v", err)
			}
			web, c := newWeb(t), newTestCache(t, testConfig())
			web.put("/i", packed)
			mustFetch(t, c, web.URL+"/i", raw)
		})
	}
}

// A block that asks for too much memory is found wherever it is.
func TestXZBomb(t *testing.T) {
	body := pipe(t, rawImage(300_000), "xz", "xz-utils", "-c", "-T2", "--block-size=100000")
	const filter = "\x21\x01\x16" // LZMA2 with a dictionary of 8 MiB
	if n := bytes.Count(body, []byte(filter)); n != 3 {
		t.Fatalf("%d block headers, want 3", n)
	}
	last := bytes.LastIndex(body, []byte(filter)) + 2
	for property, want := range map[byte]error{0x16: nil, 30: nil, 31: ErrTooLarge, 40: ErrTooLarge} {
		body[last] = property
		if err := checkXZ(bytes.NewReader(body)); !errors.Is(err, want) {
			t.Errorf("property %d: %v", property, err)
		}
	}
	body[last] = 31
	web, c := newWeb(t), newTestCache(t, testConfig())
	web.put("/i", body)
	if _, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "of memory") {
		t.Errorf("%v", err)
	}
	filtered := pipe(t, rawImage(1000), "xz", "xz-utils", "-c", "--x86", "--lzma2")
	if err := checkXZ(bytes.NewReader(filtered)); !errors.Is(err, ErrFormat) {
		t.Errorf("filters: %v", err)
	}
}

func FuzzCheckXZ(f *testing.F) {
	f.Add(xzBytes(f, []byte(strings.Repeat("hello", 100))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := checkXZ(bytes.NewReader(b)); err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrFormat) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzRecognise(f *testing.F) {
	f.Add([]byte("KDMV"))
	f.Add([]byte("conectix"))
	f.Add([]byte("<html>"))
	f.Add(make([]byte, 513))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := recognise(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if k.format == "raw" && (k.virtual%sector != 0 || k.virtual < int64(len(b)) || k.virtual-int64(len(b)) >= sector) {
			t.Errorf("%d bytes are a disk of %d", len(b), k.virtual)
		}
	})
}

// Other tools' compression is read too, at their best settings.
func TestForeignPackers(t *testing.T) {
	q := qcow2Image(t, qcow2.Options{Size: 1 << 30})
	for name, packed := range map[string][]byte{
		"gzip -9":     pipe(t, q, "gzip", "gzip", "-9c"),
		"xz -9":       pipe(t, q, "xz", "xz-utils", "-9c"),
		"bzip2":       pipe(t, q, "bzip2", "bzip2", "-c"),
		"zstd -19":    pipe(t, q, "zstd", "zstd", "-19c"),
		"zstd --long": pipe(t, q, "zstd", "zstd", "--long=27", "-c"),
	} {
		t.Run(name, func(t *testing.T) {
			web, c := newWeb(t), newTestCache(t, testConfig())
			web.put("/i", packed)
			mustFetch(t, c, web.URL+"/i", q)
		})
	}
}

// Images that only qemu-img reads are converted by it.
func TestConvert(t *testing.T) {
	raw := rawImage(4 << 20)
	dir := t.TempDir()
	source := filepath.Join(dir, "source.raw")
	if err := os.WriteFile(source, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	program := need.Program(t, "qemu-img", "qemu-utils")
	for name, args := range map[string][]string{
		"vmdk":   {"-O", "vmdk"},
		"stream": {"-O", "vmdk", "-o", "subformat=streamOptimized"},
		"vdi":    {"-O", "vdi"},
		"vhdx":   {"-O", "vhdx"},
		"vhd":    {"-O", "vpc", "-o", "force_size=on"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(dir, name)
			if b, err := exec.Command(program, append(append([]string{"convert", "-f", "raw"}, args...), source, out)...).CombinedOutput(); err != nil {
				t.Fatalf("%s", b)
			}
			body, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			web, c := newWeb(t), newTestCache(t, testConfig())
			web.put("/i", body)
			image := mustFetch(t, c, web.URL+"/i", nil)
			if image.Format != "qcow2" || image.VirtualSize != int64(len(raw)) || image.ID != sum256(body) {
				t.Errorf("%+v", image)
			}
			cached, _ := c.Get(image.ID)
			d, err := qcow2.Open(cached.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			got := make([]byte, d.Size)
			if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("the converted disk differs: %v", err)
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		web, c := newWeb(t), newTestCache(t, testConfig())
		body := make([]byte, 4096)
		copy(body, "vhdxfile")
		web.put("/i", body)
		_, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil)
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "convert") || strings.Contains(err.Error(), c.dir) {
			t.Errorf("%v", err)
		}
		if l := leftovers(t, c); len(l) > 0 {
			t.Errorf("left behind: %v", l)
		}
	})
	t.Run("no program", func(t *testing.T) {
		t.Setenv("PATH", "")
		web, c := newWeb(t), newTestCache(t, testConfig())
		body := make([]byte, 4096)
		copy(body, "vhdxfile")
		web.put("/i", body)
		if _, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "qemu-utils") {
			t.Errorf("%v", err)
		}
	})
	t.Run("out of proportion", func(t *testing.T) {
		// Each entry of the grain tables, which are right behind the first grain's
		// directory, names the same 64 KiB of data.
		out := filepath.Join(dir, "bomb")
		qemu(t, "qemu-img", "create", "-q", "-f", "vmdk", out, "256M")
		qemu(t, "qemu-io", "-f", "vmdk", "-c", "write -q -P 42 0 64k", out)
		body, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		for _, at := range []int{48, 56} { // the spare directory, and the one in use
			directory := body[le.Uint64(body[at:])*512:]
			grain := le.Uint32(body[int(le.Uint32(directory))*512:])
			for table := range 256 / 32 {
				entries := body[int(le.Uint32(directory[4*table:]))*512:]
				for k := range 512 {
					le.PutUint32(entries[4*k:], grain)
				}
			}
		}
		web, c := newWeb(t), newTestCache(t, testConfig())
		web.put("/i", body)
		if image, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "proportion") {
			t.Errorf("%d bytes became %+v, %v", len(body), image, err)
		}
	})
	t.Run("output limit", func(t *testing.T) {
		config := testConfig()
		config.MaxImage = 3 << 20
		c := newTestCache(t, config)
		err := c.convert(t.Context(), "raw", source, filepath.Join(t.TempDir(), "out"), 1<<30)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("4 MiB of data in a file of at most 3: %v", err)
		}
	})
}

// An ISO that another library writes is recognised.
func TestRealISO(t *testing.T) {
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Cleanup()
	if err := w.AddFile(strings.NewReader("hello"), "hello.txt"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := w.WriteTo(&out, "disc"); err != nil {
		t.Fatal(err)
	}
	web, c := newWeb(t), newTestCache(t, testConfig())
	web.put("/i", gz(t, out.Bytes()))
	if image := mustFetch(t, c, web.URL+"/i", out.Bytes()); !image.CDROM || image.Format != "raw" {
		t.Errorf("%+v", image)
	}
}
