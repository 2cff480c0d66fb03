package image

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Whoever wrote the file loses it: a machine's process has a user of its own.
func TestFinishTakesOver(t *testing.T) {
	need.Root(t)
	l, disks := newDisks(t, testConfig())
	path := mustCopy(t, l, snap1, disks[0])
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	mustSnapshot(t, l, snap1)
	st, err := os.Stat(filepath.Join(l.snapshots, snap1, "vda.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := int(st.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
		t.Errorf("it belongs to %d", uid)
	}
}

// A snapshot is not finished while somebody can still change it.
func TestFinishWhileWritten(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	path := mustCopy(t, l, snap1, disks[0])
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if files, err := l.FinishSnapshot(t.Context(), snap1); err == nil {
		t.Errorf("finished while it is open for writing: %v", files)
	}
	invisible(t, l, snap1)
	f.Close()
	mustSnapshot(t, l, snap1)
}

// The snapshots may be on another file system than the cache: then, and only
// then, an image made from one is a copy.
func TestSnapshotsElsewhere(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	elsewhere, err := os.MkdirTemp("/dev/shm", "snapshots-")
	if err != nil {
		t.Skipf("no second file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	l.snapshots = elsewhere
	mustSnapshot(t, l, snap1, disks[1])
	path := filepath.Join(elsewhere, snap1, "hdc.qcow2")
	image, err := l.Fetch(t.Context(), trusted("snapshot:"+snap1), nil)
	if err != nil {
		t.Fatal(err)
	}
	cached, err := l.config.Cache.Get(image.ID)
	if err != nil || cached.Shared {
		t.Errorf("%+v, %v", cached, err)
	}
	qemu(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", path, cached.Path)
	if l := leftovers(t, l.config.Cache); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
}
