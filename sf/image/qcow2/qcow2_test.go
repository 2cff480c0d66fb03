package qcow2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// qemuImg runs qemu-img, the oracle of these tests.
func qemuImg(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(need.Program(t, "qemu-img", "qemu-utils"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
	return out
}

// qemuIO runs commands of qemu-io on an image: a writer that we did not write.
func qemuIO(t testing.TB, path string, commands ...string) {
	t.Helper()
	args := []string{"-f", "qcow2"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.Command(need.Program(t, "qemu-io", "qemu-utils"), append(args, path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-io %q: %v\n%s", commands, err, out)
	}
}

// pattern is a disk of random clusters, repeated ones and holes.
func pattern(size int) []byte {
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, 2))
	for off := 0; off < size; off += 64 << 10 {
		part := b[off:min(size, off+64<<10)]
		switch off >> 16 % 4 {
		case 0:
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
		case 1:
			copy(part, bytes.Repeat([]byte("all work and no play "), 4096))
		}
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCreate(t *testing.T) {
	for _, tc := range []struct {
		size, cluster int64
	}{
		{512, 0}, {1 << 20, 4096}, {8 << 30, 0}, {8 << 30, 2 << 20}, {(8 << 30) + 512, 0},
		{1 << 40, 4096}, {4 << 40, 0}, {5 << 40, 0}, {64 << 40, 0}, {64 << 40, 2 << 20},
	} {
		for _, backing := range []string{"", "raw", "qcow2"} {
			t.Run(fmt.Sprintf("%d/%d/%s", tc.size, tc.cluster, backing), func(t *testing.T) {
				dir := t.TempDir()
				o := Options{Size: tc.size, ClusterSize: tc.cluster, BackingFormat: backing}
				switch backing {
				case "raw":
					o.BackingFile = "base.raw"
					writeFile(t, filepath.Join(dir, "base.raw"), make([]byte, 512))
				case "qcow2":
					o.BackingFile = "base.qcow2"
					if err := Create(filepath.Join(dir, "base.qcow2"), Options{Size: 512}); err != nil {
						t.Fatal(err)
					}
				}
				path := filepath.Join(dir, "disk.qcow2")
				if err := Create(path, o); err != nil {
					t.Fatal(err)
				}
				qemuImg(t, "check", "-f", "qcow2", path)
				var got struct {
					VirtualSize   int64  `json:"virtual-size"`
					ClusterSize   int64  `json:"cluster-size"`
					Backing       string `json:"backing-filename"`
					BackingFormat string `json:"backing-filename-format"`
				}
				if err := json.Unmarshal(qemuImg(t, "info", "-f", "qcow2", "--output=json", path), &got); err != nil {
					t.Fatal(err)
				}
				want := got
				want.VirtualSize, want.ClusterSize, want.Backing, want.BackingFormat = tc.size, max(tc.cluster, 0), o.BackingFile, o.BackingFormat
				if tc.cluster == 0 {
					want.ClusterSize = 64 << 10
				}
				if got != want {
					t.Errorf("qemu-img says %+v, want %+v", got, want)
				}
				info, err := InspectFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.VirtualSize != tc.size || info.BackingFile != o.BackingFile || info.BackingFormat != backing {
					t.Errorf("Inspect: %+v", info)
				}
				if f, err := os.Open(path); err == nil {
					st, _ := f.Stat()
					if err := Check(context.Background(), f, st.Size()); err != nil {
						t.Error(err)
					}
					f.Close()
				}
				qemuIO(t, path, "write -P 7 0 512", fmt.Sprintf("write -P 9 %d 512", tc.size-512))
				qemuImg(t, "check", "-f", "qcow2", path)
			})
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, o := range []Options{
		{}, {Size: -512}, {Size: 513}, {Size: 512, ClusterSize: 512}, {Size: 512, ClusterSize: 65537},
		{Size: 512, ClusterSize: 4 << 20}, {Size: 512, BackingFile: "a"}, {Size: 512, BackingFile: "a", BackingFormat: "vmdk"},
		{Size: 512, BackingFile: string(make([]byte, 1024)), BackingFormat: "raw"}, {Size: 1 << 50, ClusterSize: 4096},
	} {
		if err := Create(path, o); err == nil {
			t.Errorf("Create(%+v) succeeded", o)
			os.Remove(path)
		}
	}
	writeFile(t, path, []byte("precious"))
	if err := Create(path, Options{Size: 512}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the existing file now holds %q", b)
	}
}

func TestGrow(t *testing.T) {
	for _, tc := range []struct {
		cluster, from, to int64
		ok                bool
	}{
		{0, 1 << 30, 1 << 30, true}, {0, 1 << 30, 20 << 30, true}, {0, 100 << 20, 4 << 40, true},
		{0, 1 << 30, 5 << 40, false}, {0, 1 << 30, 1 << 29, false}, {0, 1 << 30, 1<<30 + 1, false},
		{2 << 20, 1 << 30, 900 << 40, true},
	} {
		t.Run(fmt.Sprintf("%d-%d-%d", tc.cluster, tc.from, tc.to), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.qcow2")
			if err := Create(path, Options{Size: tc.from, ClusterSize: tc.cluster}); err != nil {
				t.Fatal(err)
			}
			qemuIO(t, path, fmt.Sprintf("write -P 5 %d 512", tc.from-512))
			before, _ := os.ReadFile(path)
			err := Grow(path, tc.to)
			if (err == nil) != tc.ok {
				t.Fatalf("Grow: %v", err)
			}
			if !tc.ok {
				if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
					t.Error("a refused Grow changed the image")
				}
				return
			}
			qemuImg(t, "check", "-f", "qcow2", path)
			qemuIO(t, path, fmt.Sprintf("read -P 5 %d 512", tc.from-512), fmt.Sprintf("write -P 6 %d 512", tc.to-512))
			qemuImg(t, "check", "-f", "qcow2", path)
		})
	}
}

func TestRead(t *testing.T) {
	const size = 3<<20 + 512*3
	want := pattern(size)
	for name, args := range map[string][]string{
		"plain":    {},
		"v2":       {"-o", "compat=0.10"},
		"deflate":  {"-c"},
		"zstd":     {"-c", "-o", "compression_type=zstd"},
		"cluster":  {"-o", "cluster_size=4k"},
		"cluster2": {"-c", "-o", "cluster_size=2M"},
		"small":    {"-c", "-o", "cluster_size=512"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "disk.qcow2")
			writeFile(t, raw, want)
			qemuImg(t, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, path)...)
			compareDisk(t, path, want)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			st, _ := f.Stat()
			if err := Check(context.Background(), f, st.Size()); err != nil {
				t.Errorf("Check: %v", err)
			}
			if err := Check(context.Background(), io.NewSectionReader(f, 0, st.Size()/2), st.Size()/2); !errors.Is(err, ErrFormat) {
				t.Errorf("Check of the first half: %v", err)
			}
		})
	}
}

func compareDisk(t *testing.T, path string, want []byte) {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, d.Size)
	if n, err := d.ReadAt(got, 0); err != nil || n != len(got) {
		t.Fatalf("ReadAt: %d, %v", n, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s reads differently (%d bytes, want %d)", path, len(got), len(want))
	}
	if n, err := d.ReadAt(make([]byte, 10), d.Size-4); n != 4 || err != io.EOF {
		t.Errorf("over the end: %d, %v", n, err)
	}
}

func TestReadChain(t *testing.T) {
	dir := t.TempDir()
	base := pattern(1 << 20)
	writeFile(t, filepath.Join(dir, "base.raw"), base)
	middle, top := filepath.Join(dir, "sub", "middle.qcow2"), filepath.Join(dir, "top.qcow2")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Create(middle, Options{Size: 2 << 20, BackingFile: "../base.raw", BackingFormat: "raw"}); err != nil {
		t.Fatal(err)
	}
	if err := Create(top, Options{Size: 3 << 20, BackingFile: "sub/middle.qcow2", BackingFormat: "qcow2"}); err != nil {
		t.Fatal(err)
	}
	qemuIO(t, middle, "write -P 1 4096 8192", "write -z 131072 65536", "write -P 2 1048576 512")
	qemuIO(t, top, "write -P 3 6000 512", "write -P 4 3000000 512")
	want := make([]byte, 3<<20)
	copy(want, base)
	fill := func(off, n int, v byte) {
		for i := range want[off : off+n] {
			want[off+i] = v
		}
	}
	fill(4096, 8192, 1)
	fill(131072, 65536, 0)
	fill(1048576, 512, 2)
	fill(6000, 512, 3)
	fill(3000000, 512, 4)
	compareDisk(t, top, want)

	got, err := Chain(top)
	if err != nil || len(got) != 3 || got[1] != (Layer{middle, "qcow2"}) || got[2] != (Layer{filepath.Join(dir, "base.raw"), "raw"}) {
		t.Errorf("Chain: %v, %v", got, err)
	}
	// The whole directory may move.
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(moved)
	compareDisk(t, filepath.Join(moved, "top.qcow2"), want)
}

func TestChainLoop(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a", "b"} {
		other := map[string]string{"a": "b", "b": "a"}[n]
		if err := Create(filepath.Join(dir, n), Options{Size: 512, BackingFile: other, BackingFormat: "qcow2"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Chain(filepath.Join(dir, "a")); !errors.Is(err, ErrFormat) {
		t.Errorf("a loop: %v", err)
	}
}
