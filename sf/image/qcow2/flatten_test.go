package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// chains are disks of all the kinds that Flatten may meet, made by qemu-img.
func chains(t *testing.T) map[string]Layer {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	base := pattern(5<<20 + 1536)
	clear(base[1<<20 : 3<<20])
	writeFile(t, at("base.raw"), base)
	sparse, err := os.Create(at("sparse.raw"))
	if err != nil {
		t.Fatal(err)
	}
	sparse.Truncate(40 << 20)
	sparse.WriteAt(pattern(300000), 7<<20+512)
	sparse.WriteAt([]byte{1}, 40<<20-1)
	sparse.Close()
	writeFile(t, at("odd.raw"), pattern(70001))
	writeFile(t, at("long.raw"), bytes.Repeat([]byte{1}, 20<<20+100)) // more than is read ahead
	writeFile(t, at("zero.raw"), make([]byte, 3<<20))
	convert := func(to string, args ...string) { qemuImg(t, append(append([]string{"convert"}, args...), at(to))...) }
	convert("deflate.qcow2", "-c", "-f", "raw", "-O", "qcow2", at("base.raw"))
	convert("zstd.qcow2", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", at("base.raw"))
	convert("small.qcow2", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=512", at("base.raw"))
	convert("big.qcow2", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=2M", at("base.raw"))
	convert("old.qcow2", "-f", "raw", "-O", "qcow2", "-o", "compat=0.10", at("base.raw"))
	over := func(to, from, format, size string, commands ...string) {
		qemuImg(t, "create", "-q", "-f", "qcow2", "-b", at(from), "-F", format, at(to), size)
		qemuIO(t, at(to), commands...)
	}
	over("one.qcow2", "base.raw", "raw", "10M", "write -P 7 2M 100k", "write -z 0 512k", "write -P 9 9M 1M")
	over("two.qcow2", "one.qcow2", "qcow2", "5G", "write -P 3 2M 64k", "write -P 0 9M 200k", "write -P 5 4G 1M", "write -P 6 5368708608 512", "discard 9M 512k")
	over("packed.qcow2", "deflate.qcow2", "qcow2", "9M", "write -P 8 64k 1M", "write -z 4M 1M")
	over("holes.qcow2", "sparse.raw", "raw", "1G", "write -P 8 39M 2M")
	over("shorter.qcow2", "sparse.raw", "raw", "8M", "write -P 8 1M 4k")
	qemuImg(t, "create", "-q", "-f", "qcow2", at("empty.qcow2"), "1T")
	all := map[string]Layer{}
	files, _ := filepath.Glob(at("*"))
	for _, f := range files {
		all[filepath.Base(f)] = Layer{Path: f, Format: filepath.Ext(f)[1:]}
	}
	return all
}

// What qemu-img sees in the copy is what it sees in the disk, and it finds no
// fault with the copy.
func TestFlatten(t *testing.T) {
	for name, from := range chains(t) {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "copy.qcow2")
			var last, total int64
			err := Flatten(t.Context(), from, to, func(done, of int64) error {
				if done < last {
					t.Errorf("progress goes from %d back to %d", last, done)
				}
				last, total = done, of
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if last != total || total == 0 {
				t.Errorf("ended at %d of %d", last, total)
			}
			qemuImg(t, "check", "-f", "qcow2", to)
			qemuImg(t, "compare", "-f", from.Format, "-F", "qcow2", from.Path, to)
			info, err := InspectFile(to)
			if err != nil || info.Safe() != nil {
				t.Errorf("%+v: %v, %v", info, err, info.Safe())
			}
			theirs := filepath.Join(t.TempDir(), "theirs.qcow2")
			qemuImg(t, "convert", "-f", from.Format, "-O", "qcow2", from.Path, theirs)
			ours, _ := os.Stat(to)
			if st, _ := os.Stat(theirs); ours.Size() > st.Size()+512<<10 {
				t.Errorf("%d bytes, qemu-img needs %d", ours.Size(), st.Size())
			}
		})
	}
}

// A disk whose counts need more than one block, with pieces everywhere.
func TestFlattenScattered(t *testing.T) {
	dir := t.TempDir()
	from := Layer{Path: filepath.Join(dir, "raw"), Format: "raw"}
	f, err := os.Create(from.Path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const size = 30 << 30
	f.Truncate(size)
	for range 300 {
		b := bytes.Repeat([]byte{byte(rng.Uint32()) | 1}, 1+rng.IntN(200000))
		f.WriteAt(b, rng.Int64N(size-200000))
	}
	f.Close()
	to := filepath.Join(dir, "copy.qcow2")
	if err := Flatten(t.Context(), from, to, nil); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "check", "-f", "qcow2", to)
	qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", from.Path, to)
}

func TestFlattenRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, at("raw"), bytes.Repeat([]byte{1}, 40<<20))
	writeFile(t, at("there"), []byte("precious"))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	midway, stop := context.WithCancelCause(t.Context())
	full := errors.New("full")
	qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", at("raw"), at("broken.qcow2"))
	info, err := InspectFile(at("broken.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	f, _ := os.OpenFile(at("broken.qcow2"), os.O_RDWR, 0)
	f.WriteAt(binary.BigEndian.AppendUint64(nil, 1<<40), info.l1Offset)
	f.Close()
	for name, c := range map[string]struct {
		ctx  context.Context
		from Layer
		to   string
		step func(int64, int64) error
		want error
	}{
		"missing":   {t.Context(), Layer{at("nothing"), "raw"}, "copy", nil, os.ErrNotExist},
		"format":    {t.Context(), Layer{at("raw"), "vmdk"}, "copy", nil, ErrFormat},
		"no qcow2":  {t.Context(), Layer{at("raw"), "qcow2"}, "copy", nil, ErrFormat},
		"broken":    {t.Context(), Layer{at("broken.qcow2"), "qcow2"}, "copy", nil, ErrFormat},
		"exists":    {t.Context(), Layer{at("raw"), "raw"}, "there", nil, os.ErrExist},
		"cancelled": {cancelled, Layer{at("raw"), "raw"}, "copy", nil, context.Canceled},
		"midway":    {midway, Layer{at("raw"), "raw"}, "copy", func(int64, int64) error { stop(os.ErrDeadlineExceeded); return nil }, os.ErrDeadlineExceeded},
		"step":      {t.Context(), Layer{at("raw"), "raw"}, "copy", func(int64, int64) error { return full }, full},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Flatten(c.ctx, c.from, at(c.to), c.step); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, err := os.Lstat(at("copy")); err == nil {
				t.Error("the copy was left")
			}
			if b, _ := os.ReadFile(at("there")); string(b) != "precious" {
				t.Errorf("what was there is %q", b)
			}
		})
	}
}

// What was written so far is no image at any moment before the end.
func TestFlattenHeaderLast(t *testing.T) {
	dir := t.TempDir()
	from, to := Layer{filepath.Join(dir, "raw"), "raw"}, filepath.Join(dir, "copy")
	writeFile(t, from.Path, pattern(4<<20))
	steps := 0
	err := Flatten(t.Context(), from, to, func(done, total int64) error {
		steps++
		if _, err := InspectFile(to); !errors.Is(err, ErrFormat) {
			t.Errorf("at %d of %d bytes it looks like an image: %v", done, total, err)
		}
		return nil
	})
	if err != nil || steps < 4 {
		t.Errorf("%d steps, %v", steps, err)
	}
}

// FuzzFlatten takes apart and copies random disks, made of random runs.
func FuzzFlatten(f *testing.F) {
	f.Add(uint64(1), 100000)
	f.Add(uint64(2), 1<<22)
	f.Fuzz(func(t *testing.T, seed uint64, size int) {
		size = max(1, min(size, 1<<24))
		rng := rand.New(rand.NewPCG(seed, 1))
		want := make([]byte, size)
		for at := 0; at < size; {
			n := min(1+rng.IntN(1<<(8+rng.IntN(14))), size-at)
			if rng.IntN(2) == 0 {
				copy(want[at:at+n], bytes.Repeat([]byte{byte(seed) | 1}, n))
			}
			at += n
		}
		dir := t.TempDir()
		from, to := Layer{filepath.Join(dir, "raw"), "raw"}, filepath.Join(dir, "copy")
		writeFile(t, from.Path, want)
		if err := Flatten(t.Context(), from, to, nil); err != nil {
			t.Fatal(err)
		}
		again := filepath.Join(dir, "again") // of the copy: the same bytes
		if err := Flatten(t.Context(), Layer{to, "qcow2"}, again, nil); err != nil {
			t.Fatal(err)
		}
		a, _ := os.ReadFile(to)
		b, _ := os.ReadFile(again)
		if !bytes.Equal(a, b) {
			t.Error("a copy of the copy differs")
		}
		d, err := Open(again)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		got := make([]byte, size)
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the copy reads differently: %v", err)
		}
	})
}

// The same disks by Flatten and by qemu-img, both durable in the end.
func BenchmarkFlatten(b *testing.B) {
	dir := b.TempDir()
	base, plain, packed := filepath.Join(dir, "base"), filepath.Join(dir, "plain.qcow2"), filepath.Join(dir, "packed.qcow2")
	const size = 512 << 20
	text := make([]byte, size) // compresses to about a half
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint32(text[i:], rng.Uint32())
	}
	writeFile(b, base, text)
	qemuImg(b, "convert", "-f", "raw", "-O", "qcow2", base, plain)
	qemuImg(b, "convert", "-c", "-f", "raw", "-O", "qcow2", base, packed)
	for name, from := range map[string]Layer{"raw": {base, "raw"}, "qcow2": {plain, "qcow2"}, "compressed": {packed, "qcow2"}} {
		to := filepath.Join(dir, "copy")
		b.Run(name+"/go", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				os.Remove(to)
				if err := Flatten(b.Context(), from, to, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/qemu-img", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				os.Remove(to)
				qemuImg(b, "convert", "-f", from.Format, "-O", "qcow2", from.Path, to)
				f, err := os.OpenFile(to, os.O_RDWR, 0)
				if err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}
