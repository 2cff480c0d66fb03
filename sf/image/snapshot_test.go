package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

const (
	snap1 = "00000000-1111-4222-8333-444444444444"
	snap2 = "99999999-1111-4222-8333-444444444444"
)

// qemu runs one of QEMU's tools, the oracles here.
func qemu(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(need.Program(t, program, "qemu-utils"), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

// newDisks is newLocal with an instance of two disks that a guest wrote to.
func newDisks(t testing.TB, c CacheConfig) (l *Local, disks []driver.Disk) {
	t.Helper()
	l, _, raw, _ := newLocal(t, c)
	disks, err := l.Build(t.Context(), uuid1, []driver.Volume{{Device: "vda", Size: 1 << 30, Image: raw.ID}, {Device: "hdc", Size: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 42 4k 512", "-c", "write -P 43 900M 1M", disks[0].Path)
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 44 0 5M", disks[1].Path)
	return l, disks
}

// copyTo puts a copy of a disk where the snapshot wants it.
func copyTo(l *Local, id string, d driver.Disk) (path string, err error) {
	path, err = l.SnapshotPath(context.Background(), id, d.Device)
	if err == nil {
		err = l.CopyDisk(context.Background(), d, path, nil)
	}
	return path, err
}

func mustCopy(t testing.TB, l *Local, id string, d driver.Disk) (path string) {
	t.Helper()
	path, err := copyTo(l, id, d)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// mustSnapshot makes a finished snapshot.
func mustSnapshot(t testing.TB, l *Local, id string, disks ...driver.Disk) []driver.SnapshotFile {
	t.Helper()
	for _, d := range disks {
		mustCopy(t, l, id, d)
	}
	files, err := l.FinishSnapshot(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// invisible checks that a snapshot cannot be used.
func invisible(t testing.TB, l *Local, id string) {
	t.Helper()
	if r, err := l.OpenSnapshot(t.Context(), id, "vda"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("OpenSnapshot: %v, %v", r, err)
	}
	_, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + id}, nil)
	if !errors.Is(err, driver.ErrNotFound) || !errors.Is(err, driver.ErrPermanent) {
		t.Errorf("Fetch: %v", err)
	}
}

func TestSnapshot(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	if ids, err := l.ListSnapshots(t.Context()); err != nil || len(ids) > 0 {
		t.Errorf("at first: %v, %v", ids, err)
	}
	for _, d := range disks {
		mustCopy(t, l, snap1, d)
		invisible(t, l, snap1)
	}
	files, err := l.FinishSnapshot(t.Context(), snap1)
	if err != nil {
		t.Fatal(err)
	}
	for k, f := range files {
		path := filepath.Join(l.snapshots, snap1, f.Device+".qcow2")
		qemu(t, "qemu-img", "check", "-f", "qcow2", path)
		qemu(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", disks[k].Path, path)
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		want := driver.SnapshotFile{Device: disks[k].Device, Size: st.Size(), VirtualSize: []int64{1 << 30, 64 << 20}[k]}
		if f != want || st.Mode() != 0o444 {
			t.Errorf("%+v, mode %v, want %+v", f, st.Mode(), want)
		}
		r, err := l.OpenSnapshot(t.Context(), snap1, f.Device)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if b, _ := os.ReadFile(path); err != nil || !bytes.Equal(got, b) || r.Size() != int64(len(b)) {
			t.Errorf("reading gives %d bytes of %d, %v", len(got), r.Size(), err)
		}
		r.Close()
	}
	if st, err := os.Stat(filepath.Join(l.snapshots, snap1)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", st.Mode(), err)
	}
	if again, err := l.FinishSnapshot(t.Context(), snap1); err != nil || cmp.Diff(files, again) != "" {
		t.Errorf("finished again: %v, %v", again, err)
	}
	// As after a crash before the finish was noted: it never changes.
	before, _ := os.ReadFile(filepath.Join(l.snapshots, snap1, "vda.qcow2"))
	mustCopy(t, l, snap1, driver.Disk{Device: "vda", Path: disks[1].Path, Format: "qcow2"})
	if again, err := l.FinishSnapshot(t.Context(), snap1); err != nil || cmp.Diff(files, again) != "" {
		t.Errorf("made again: %v, %v", again, err)
	}
	if after, _ := os.ReadFile(filepath.Join(l.snapshots, snap1, "vda.qcow2")); !bytes.Equal(before, after) {
		t.Error("a finished snapshot changed")
	}
	mustCopy(t, l, snap2, disks[0])
	if ids, err := l.ListSnapshots(t.Context()); err != nil || !slices.Equal(ids, []string{snap1, snap2}) {
		t.Errorf("ListSnapshots: %v, %v", ids, err)
	}
	for range 2 {
		for _, id := range []string{snap1, snap2} {
			if err := l.RemoveSnapshot(t.Context(), id); err != nil {
				t.Error(err)
			}
			invisible(t, l, id)
		}
	}
	if left, _ := os.ReadDir(l.snapshots); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An instance made from a snapshot reads what was in it, also when the snapshot
// is gone, and takes no second copy of it.
func TestFromSnapshot(t *testing.T) {
	c := testConfig()
	now := time.Now()
	c.Now = func() time.Time { return now }
	l, disks := newDisks(t, c)
	mustSnapshot(t, l, snap1, disks...)
	first, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + snap1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + snap1 + "/hdc"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := driver.Image{ID: first.ID, Name: "snapshot:" + snap1 + "/vda", Format: "qcow2", VirtualSize: 1 << 30}
	if first != want || second.ID == first.ID || second.VirtualSize != 64<<20 {
		t.Errorf("%+v and %+v, want %+v", first, second, want)
	}
	if again, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + snap1 + "/vda"}, nil); err != nil || again != first {
		t.Errorf("by its whole name: %+v, %v", again, err)
	}
	cached, err := l.config.Cache.Get(first.ID)
	if err != nil || !cached.Shared {
		t.Errorf("%+v, %v", cached, err)
	}
	made, err := l.Build(t.Context(), uuid2, []driver.Volume{{Device: "vda", Size: 2 << 30, Image: first.ID}})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		qemu(t, "qemu-img", "check", "-f", "qcow2", made[0].Path)
		qemu(t, "qemu-io", "-r", "-f", "qcow2", "-c", "read -P 42 4k 512", "-c", "read -P 43 900M 1M", "-c", "read -P 0 1500M 1M", made[0].Path)
	}
	check()
	if err := l.RemoveSnapshot(t.Context(), snap1); err != nil {
		t.Fatal(err)
	}
	invisible(t, l, snap1)
	check()
	if cached, err := l.config.Cache.Get(first.ID); err != nil || cached.Shared {
		t.Errorf("in use: %+v, %v", cached, err)
	}
	if _, err := l.config.Cache.Get(second.ID); !errors.Is(err, ErrNotCached) {
		t.Errorf("not in use: %v", err)
	}
	// Nobody can ask for it again: it goes when it is free.
	now = now.Add(l.config.Cache.config.GiveUp + time.Hour)
	if gone, err := l.Evict(t.Context(), nil); err != nil || slices.ContainsFunc(gone, func(c Cached) bool { return c.ID == first.ID }) {
		t.Errorf("evicted while in use: %v, %v", gone, err)
	}
	check()
	if err := l.Remove(t.Context(), uuid2); err != nil {
		t.Fatal(err)
	}
	if gone, err := l.Evict(t.Context(), nil); err != nil || !slices.ContainsFunc(gone, func(c Cached) bool { return c.ID == first.ID }) {
		t.Errorf("evicted when free: %v, %v", gone, err)
	}
}

func TestSnapshotNames(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	mustSnapshot(t, l, snap1, disks[0])
	for _, id := range []string{"", ".", "..", "../instances/" + uuid1, strings.ToUpper(uuid2), snap1 + "/", snap1 + partialSuffix, "x" + snap1, snap1 + "\x00"} {
		_, perr := l.SnapshotPath(t.Context(), id, "vda")
		_, ferr := l.FinishSnapshot(t.Context(), id)
		_, oerr := l.OpenSnapshot(t.Context(), id, "vda")
		rerr := l.RemoveSnapshot(t.Context(), id)
		for what, err := range map[string]error{"path": perr, "finish": ferr, "open": oerr, "remove": rerr} {
			if !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("%s %q: %v", what, id, err)
			}
		}
	}
	for _, device := range []string{"", ".", "..", "../vda", "vda/x", "VDA", "vda.qcow2", "snapshot.json", strings.Repeat("a", 17)} {
		_, perr := l.SnapshotPath(t.Context(), snap1, device)
		_, oerr := l.OpenSnapshot(t.Context(), snap1, device)
		for what, err := range map[string]error{"path": perr, "open": oerr} {
			if !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("%s %q: %v", what, device, err)
			}
		}
		_, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + snap1 + "/" + device}, nil)
		if !errors.Is(err, driver.ErrPermanent) {
			t.Errorf("fetch %q: %v", device, err)
		}
	}
	for _, name := range []string{"snapshot:", "snapshot:x", "snapshot:../" + snap1, "snapshot:" + snap2, "snapshot:" + snap1 + "/vdz"} {
		if _, err := l.Fetch(t.Context(), driver.ImageRef{Name: name}, nil); !errors.Is(err, driver.ErrPermanent) {
			t.Errorf("fetch %q: %v", name, err)
		}
	}
	for _, path := range []string{
		"", "/tmp/x.qcow2", l.Dir(uuid1) + "/vda.qcow2", filepath.Join(l.snapshots, snap1, "vda.qcow2"),
		filepath.Join(l.snapshots, snap1+partialSuffix, "vda"), filepath.Join(l.snapshots, snap1+partialSuffix, "x", "vda.qcow2"),
		l.snapshots + "/../" + snap2 + partialSuffix + "/vda.qcow2",
	} {
		if err := l.CopyDisk(t.Context(), disks[0], path, nil); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("copy to %q: %v", path, err)
		}
	}
	qemu(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", disks[0].Path, filepath.Join(l.snapshots, snap1, "vda.qcow2"))
}

// What is no whole disk that stands alone does not become a snapshot, and
// what is put right does.
func TestFinishRefuses(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	if _, err := l.FinishSnapshot(t.Context(), snap1); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	overlay := func(path string) {
		qcow2.Create(path, qcow2.Options{Size: 1 << 20, BackingFile: "/etc/shadow", BackingFormat: "raw"})
	}
	for name, put := range map[string]func(path string){
		"missing": func(string) {},
		"empty":   func(path string) { os.WriteFile(path, nil, 0o600) },
		"raw":     func(path string) { os.WriteFile(path, rawImage(1<<20), 0o600) },
		"overlay": overlay,
		"link":    func(path string) { os.Symlink(disks[1].Path, path) },
		"folder":  func(path string) { os.Mkdir(path, 0o700) },
		"cut off": func(path string) {
			l.CopyDisk(t.Context(), disks[0], path, nil)
			os.Truncate(path, 300<<10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			mustCopy(t, l, snap1, disks[1])
			path, err := l.SnapshotPath(t.Context(), snap1, "vda")
			if err != nil {
				t.Fatal(err)
			}
			put(path)
			if files, err := l.FinishSnapshot(t.Context(), snap1); err == nil {
				t.Fatalf("accepted: %v", files)
			}
			invisible(t, l, snap1)
			os.RemoveAll(path)
			mustSnapshot(t, l, snap1, disks[0])
			if err := l.RemoveSnapshot(t.Context(), snap1); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCopyDisk(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	path, err := l.SnapshotPath(t.Context(), snap1, "vda")
	if err != nil {
		t.Fatal(err)
	}
	var last driver.Progress
	if err := l.CopyDisk(t.Context(), disks[0], path, func(p driver.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if want := (driver.Progress{Stage: "copying", Done: 1 << 30, Total: 1 << 30}); last != want {
		t.Errorf("the last report is %+v, want %+v", last, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.CopyDisk(ctx, disks[0], path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a copy that was cancelled is left")
	}
	l.config.Cache.config.Reserve = 1 << 60
	if err := l.CopyDisk(t.Context(), disks[0], path, nil); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
	l.config.Cache.config.Reserve = 0
	raw := filepath.Join(l.Dir(uuid1), "raw")
	if err := os.WriteFile(raw, rawImage(3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	mustCopy(t, l, snap1, driver.Disk{Device: "vda", Path: raw, Format: "raw"})
	qemu(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path)
}

const snapshotChildEnv = "SF_IMAGE_TEST_SNAPSHOT"

// snapshotChild makes one snapshot after another of the instance in data, until
// it is killed.
func snapshotChild(data string) error {
	cache, err := NewCache(filepath.Join(data, "image_cache"), CacheConfig{Source: brokenSource{}, Reserve: 1})
	if err != nil {
		return err
	}
	l, err := NewLocal(filepath.Join(data, "instances"), LocalConfig{Cache: cache})
	if err != nil {
		return err
	}
	ctx := context.Background()
	disk := driver.Disk{Device: "vda", Path: filepath.Join(l.Dir(uuid1), "vda.qcow2"), Format: "qcow2"}
	fmt.Println("ready")
	for n := 0; ; n++ {
		id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)
		path, err := l.SnapshotPath(ctx, id, "vda")
		if err == nil {
			err = l.CopyDisk(ctx, disk, path, nil)
		}
		if err == nil {
			_, err = l.FinishSnapshot(ctx, id)
		}
		if err == nil {
			_, err = l.Fetch(ctx, driver.ImageRef{Name: "snapshot:" + id}, nil)
		}
		if err == nil && n%2 == 1 {
			err = l.RemoveSnapshot(ctx, id)
		}
		if err != nil {
			return err
		}
	}
}

// kill -9 at many moments: what can be seen is whole, and doing it again
// completes what was begun.
func TestSnapshotKilled(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	data := filepath.Dir(l.dir)
	var begun, finished int
	for round := 0; round < 20 || round < 100 && (begun < 3 || finished < 3); round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), snapshotChildEnv+"="+data)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round*7) * time.Millisecond) // the moment of the crash
		cmd.Process.Kill()
		cmd.Wait()
		ids, err := l.ListSnapshots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			path := filepath.Join(l.snapshots, id, "vda.qcow2")
			if r, err := l.OpenSnapshot(t.Context(), id, "vda"); err == nil {
				finished++
				r.Close()
			} else {
				begun++
				invisible(t, l, id)
				mustSnapshot(t, l, id, disks[0])
			}
			qemu(t, "qemu-img", "check", "-f", "qcow2", path)
			qemu(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", disks[0].Path, path)
			if _, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + id}, nil); err != nil {
				t.Error(err)
			}
			if err := l.RemoveSnapshot(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
		if left, _ := os.ReadDir(l.snapshots); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		images, err := l.ListImages(t.Context())
		if err != nil || slices.ContainsFunc(images, func(i driver.CachedImage) bool { return strings.HasPrefix(i.Name, snapshotScheme) }) {
			t.Errorf("images left behind: %v, %v", images, err)
		}
	}
	t.Logf("%d were unfinished, %d finished", begun, finished)
	if begun < 3 || finished < 3 {
		t.Errorf("%d unfinished and %d finished snapshots were met: nothing was tested", begun, finished)
	}
}
