package consolelog

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// write makes a log of n bytes, which tell their offsets.
func write(t *testing.T, path string, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i%255) + 1
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, path string, offset int64) ([]byte, int64) {
	t.Helper()
	p := make([]byte, 1<<20)
	n, end, err := Read(path, offset, p)
	if err != nil {
		t.Fatal(err)
	}
	return p[:n], end
}

// A bounded log keeps its end at its true offset, gives its blocks back, and what
// is appended afterwards goes on from there.
func TestBound(t *testing.T) {
	const limit = 100_000
	path := filepath.Join(t.TempDir(), "log")
	all := write(t, path, 500_000)
	if err := Bound(path, limit); err != nil {
		t.Fatal(err)
	}
	got, end := read(t, path, 0)
	if end != 500_000 || len(got) < limit || len(got) >= limit+4096 || !bytes.HasSuffix(all, got) {
		t.Errorf("%d bytes are left of %d", len(got), end)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks*512 > limit+2*4096 {
		t.Errorf("it takes %d bytes, %v", st.Blocks*512, err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	if got, end := read(t, path, 500_000); string(got) != "more" || end != 500_004 {
		t.Errorf("appended is %q to %d", got, end)
	}
}

// A log is left alone until cutting it is worthwhile.
func TestBoundSlack(t *testing.T) {
	const limit = 100_000
	path := filepath.Join(t.TempDir(), "log")
	if err := Bound(path, limit); err != nil {
		t.Errorf("without a log: %v", err)
	}
	for _, tt := range []struct {
		size int
		cut  bool
	}{{0, false}, {limit, false}, {limit + slack - 1, false}, {limit + slack, true}} {
		all := write(t, path, tt.size)
		if err := Bound(path, limit); err != nil {
			t.Fatal(err)
		}
		if got, _ := read(t, path, 0); (len(got) < len(all)) != tt.cut {
			t.Errorf("of %d bytes %d are left", len(all), len(got))
		}
	}
}

// Where the file system has no holes to punch all is given back at once: losing
// output is better than filling the disk.
func TestBoundWithoutHoles(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "log")
	write(t, path, 500_000)
	if err := Bound(path, 100_000); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Size != 500_000 || st.Blocks != 0 {
		t.Errorf("it has %d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if n, end, err := Read(path, 0, make([]byte, 1)); n != 0 || end != 0 || err != nil {
		t.Errorf("without a log: %d, %d, %v", n, end, err)
	}
	write(t, path, 10)
	for _, tt := range []struct{ offset, size, first, n int64 }{
		{0, 100, 1, 10}, {4, 100, 5, 6}, {4, 2, 5, 2}, {10, 100, 0, 0}, {11, 100, 0, 0}, {-3, 100, 8, 3}, {-11, 100, 1, 10}, {0, 0, 0, 0},
	} {
		p := make([]byte, tt.size)
		n, end, err := Read(path, tt.offset, p)
		if int64(n) != tt.n || end != 10 || err != nil || n > 0 && int64(p[0]) != tt.first {
			t.Errorf("%d bytes at %d: %d from %d, end %d, %v", tt.size, tt.offset, n, p[:min(n, 1)], end, err)
		}
	}
}
