package image

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

const (
	uuid1 = "11111111-2222-3333-4444-555555555555"
	uuid2 = "aaaaaaaa-2222-3333-4444-555555555555"
)

// newLocal is a data directory with a web server and two images: raw, 1 MiB, and
// an ISO.
func newLocal(t testing.TB, c CacheConfig) (l *Local, web *webServer, raw, iso driver.Image) {
	t.Helper()
	web = newWeb(t)
	data := t.TempDir()
	cache, err := NewCache(filepath.Join(data, "image_cache"), c)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = NewLocal(filepath.Join(data, "instances"), LocalConfig{Cache: cache}); err != nil {
		t.Fatal(err)
	}
	web.put("/raw", rawImage(1<<20))
	disc := make([]byte, 64<<10)
	copy(disc[isoOffset:], "\x01CD001\x01")
	web.put("/iso", disc)
	for path, image := range map[string]*driver.Image{"/raw": &raw, "/iso": &iso} {
		if *image, err = l.Fetch(t.Context(), trusted(web.URL+path), nil); err != nil {
			t.Fatal(err)
		}
	}
	return l, web, raw, iso
}

func TestBuild(t *testing.T) {
	l, _, raw, iso := newLocal(t, testConfig())
	volumes := []driver.Volume{
		{Device: "vda", Bus: "virtio", Size: 8 << 30, Image: raw.ID, Serial: "root"},
		{Device: "vdb", Bus: "virtio", Content: []byte("config drive"), Size: 0},
		{Device: "vdc", Bus: "virtio", Size: 1000},
		{Device: "hdd", Bus: "ide", Image: iso.ID, CDROM: true},
		{Device: "vde", Bus: "scsi", Image: raw.ID},
	}
	dir := l.Dir(uuid1)
	cached, _ := l.config.Cache.Get(iso.ID)
	want := []driver.Disk{
		{Device: "vda", Path: dir + "/vda.qcow2", Format: "qcow2", Bus: "virtio", Serial: "root"},
		{Device: "vdb", Path: dir + "/vdb.raw", Format: "raw", Bus: "virtio", ReadOnly: true},
		{Device: "vdc", Path: dir + "/vdc.qcow2", Format: "qcow2", Bus: "virtio"},
		{Device: "hdd", Path: cached.Path, Format: "raw", Bus: "ide", CDROM: true, ReadOnly: true},
		{Device: "vde", Path: dir + "/vde.qcow2", Format: "qcow2", Bus: "scsi"},
	}
	got, err := l.Build(t.Context(), uuid1, volumes)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for path, size := range map[string]int64{"vda": 8 << 30, "vdc": 1024, "vde": 1 << 20} {
		info, err := qcow2.InspectFile(filepath.Join(dir, path+".qcow2"))
		if err != nil || info.VirtualSize != size {
			t.Errorf("%s: %+v, %v", path, info, err)
		}
		if out, err := exec.Command(need.Program(t, "qemu-img", "qemu-utils"), "check", filepath.Join(dir, path+".qcow2")).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", path, out)
		}
	}
	if b, _ := os.ReadFile(dir + "/vdb.raw"); string(b) != "config drive" {
		t.Errorf("vdb holds %q", b)
	}

	// A guest writes; building again, as after a crash, keeps that and makes what
	// is missing.
	io := need.Program(t, "qemu-io", "qemu-utils")
	if out, err := exec.Command(io, "-f", "qcow2", "-c", "write -P 42 0 512", dir+"/vda.qcow2").CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	before, _ := os.ReadFile(dir + "/vda.qcow2")
	os.Remove(dir + "/vdc.qcow2")
	os.WriteFile(dir+"/.tmp-vdc.qcow2", []byte("half"), 0o600)
	volumes[1].Content = []byte("other")
	if got, err = l.Build(t.Context(), uuid1, volumes); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("again: %v, %v", got, err)
	}
	if after, _ := os.ReadFile(dir + "/vda.qcow2"); string(before) != string(after) {
		t.Error("the guest's disk changed")
	}
	if b, _ := os.ReadFile(dir + "/vdb.raw"); string(b) != "config drive" {
		t.Errorf("vdb holds %q", b)
	}
	d, err := qcow2.Open(dir + "/vda.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 1024)
	d.ReadAt(b, 0)
	if base := rawImage(1 << 20); b[0] != 42 || b[512] != base[512] {
		t.Error("the overlay does not read as guest over image")
	}
	ids, err := l.List(t.Context())
	if err != nil || !slices.Equal(ids, []string{uuid1}) {
		t.Errorf("List: %v, %v", ids, err)
	}
	s, err := l.Space(t.Context())
	if err != nil || s.Promised != 8<<30+12+1024+1<<20 || s.Allocated <= 0 || s.Allocated > 1<<21 || s.Total <= 0 || s.Free <= 0 {
		t.Errorf("Space: %+v, %v", s, err)
	}
	for range 2 {
		if err := l.Remove(t.Context(), uuid1); err != nil {
			t.Error(err)
		}
	}
	if ids, _ := l.List(t.Context()); len(ids) != 0 {
		t.Errorf("after Remove: %v", ids)
	}
}

func TestBuildRefuses(t *testing.T) {
	l, _, raw, _ := newLocal(t, testConfig())
	for _, tc := range []struct {
		id   string
		v    []driver.Volume
		want error
		text string
	}{
		{"../" + uuid1, nil, driver.ErrInvalid, "UUID"},
		{"", nil, driver.ErrInvalid, "UUID"},
		{strings.ToUpper(uuid2), nil, driver.ErrInvalid, "UUID"},
		{uuid1, []driver.Volume{{Device: "../vda", Size: 1}}, driver.ErrInvalid, "device name"},
		{uuid1, []driver.Volume{{Device: "", Size: 1}}, driver.ErrInvalid, "device name"},
		{uuid1, []driver.Volume{{Device: "vda", Size: 1}, {Device: "vda", Size: 1}}, driver.ErrInvalid, "two volumes"},
		{uuid1, []driver.Volume{{Device: "vda"}}, driver.ErrInvalid, "size"},
		{uuid1, []driver.Volume{{Device: "vda", Size: -1}}, driver.ErrInvalid, "-1 bytes"},
		{uuid1, []driver.Volume{{Device: "vda", Size: 1<<63 - 1}}, driver.ErrInvalid, "9223372036854775807 bytes"},
		{uuid1, []driver.Volume{{Device: "vda", CDROM: true}}, driver.ErrInvalid, "CD-ROM"},
		{uuid1, []driver.Volume{{Device: "vda", Content: []byte{1}, Image: raw.ID}}, driver.ErrInvalid, "both"},
		{uuid1, []driver.Volume{{Device: "vda", Size: 1 << 19, Image: raw.ID}}, driver.ErrInvalid, "512.0 KiB (524288 bytes) is smaller than its image, which has 1.0 MiB (1048576 bytes)"},
		{uuid1, []driver.Volume{{Device: "vda", Size: 1 << 30, Image: sum256(nil)}}, ErrNotCached, "cache"},
		{uuid1, []driver.Volume{{Device: "vda", Size: 1 << 30, Image: "../../../etc/passwd"}}, ErrNotCached, "cache"},
		{uuid1, []driver.Volume{{Device: "vda", CDROM: true, Image: sum256(nil)}}, ErrNotCached, "cache"},
	} {
		_, err := l.Build(t.Context(), tc.id, tc.v)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("Build(%q, %+v): %v", tc.id, tc.v, err)
		}
	}
	if err := l.Remove(t.Context(), ".."); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("Remove(..): %v", err)
	}
	if d := l.Dir("../x"); d != "" {
		t.Errorf("Dir(../x) = %q", d)
	}
	left, _ := filepath.Glob(l.dir + "/*/*")
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Images that volumes need survive the tightest eviction, others do not.
func TestEvictSparesUsed(t *testing.T) {
	config := testConfig()
	config.MaxBytes, config.MinAge = 1, 1
	l, web, raw, iso := newLocal(t, config)
	web.put("/spare", rawImage(4096))
	spare, err := l.Fetch(t.Context(), trusted(web.URL+"/spare"), nil)
	if err != nil {
		t.Fatal(err)
	}
	web.put("/asked", rawImage(8192))
	asked, err := l.Fetch(t.Context(), trusted(web.URL+"/asked"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Build(t.Context(), uuid1, []driver.Volume{
		{Device: "vda", Size: 1 << 30, Image: raw.ID}, {Device: "hdb", CDROM: true, Image: iso.ID},
	})
	if err != nil {
		t.Fatal(err)
	}
	keep := func(id string) bool { return id == asked.ID }
	removed, err := l.Evict(t.Context(), keep)
	if err != nil || len(removed) != 1 || removed[0].ID != spare.ID {
		t.Errorf("removed %v, %v", removed, err)
	}
	// A volume that cannot be read may need anything.
	os.WriteFile(filepath.Join(l.Dir(uuid1), "vdz.qcow2"), []byte("junk"), 0o600)
	if removed, err := l.Evict(t.Context(), nil); err != nil || len(removed) != 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if err := l.Remove(t.Context(), uuid1); err != nil {
		t.Fatal(err)
	}
	if removed, err := l.Evict(t.Context(), nil); err != nil || len(removed) != 3 {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// A damaged disk is its instance's trouble: the host's space is known, without which
// no daemon starts, images are listed, and none is removed that the disk may need.
func TestDamagedDisk(t *testing.T) {
	l, _, raw, _ := newLocal(t, testConfig())
	if _, err := l.Build(t.Context(), uuid1, []driver.Volume{{Device: "vda", Size: 1 << 30, Image: raw.ID}}); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "junk"} {
		path := filepath.Join(l.Dir(uuid1), "vda.qcow2")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := l.Space(t.Context()); err != nil || s.Total == 0 || s.Promised != int64(len(content)) {
			t.Errorf("space %+v, %v", s, err)
		}
		if list, err := l.ListImages(t.Context()); err != nil || len(list) != 2 {
			t.Errorf("images %+v, %v", list, err)
		}
		if err := l.RemoveImage(t.Context(), raw.ID); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("an image that a disk may need was removed: %v", err)
		}
	}
}

// A disk whose image was removed since it was fetched is not made, and told apart.
func TestImageEvictedBeforeBuild(t *testing.T) {
	l, _, raw, iso := newLocal(t, testConfig())
	for _, v := range []driver.Volume{{Device: "vda", Size: 1 << 30, Image: raw.ID}, {Device: "hda", CDROM: true, Image: iso.ID}} {
		if err := l.config.Cache.Remove(v.Image); err != nil {
			t.Fatal(err)
		}
		_, err := l.Build(t.Context(), uuid1, []driver.Volume{v})
		if !errors.Is(err, driver.ErrNotFound) || !errors.Is(err, ErrNotCached) || strings.Contains(err.Error(), "machine") {
			t.Errorf("%v", err)
		}
	}
}

// A disk whose image is gone is an error that says so, not a new empty disk.
func TestImageGone(t *testing.T) {
	l, _, raw, iso := newLocal(t, testConfig())
	v := []driver.Volume{{Device: "vda", Size: 1 << 30, Image: raw.ID}, {Device: "hdb", CDROM: true, Image: iso.ID}}
	if _, err := l.Build(t.Context(), uuid1, v); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{iso.ID, raw.ID} {
		if err := l.config.Cache.Remove(id); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Build(t.Context(), uuid1, v); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone") {
			t.Errorf("%v", err)
		}
	}
}

// Who broke out of a machine's process can write the header of its disk, and is not to
// be given files of the host by that: neither by the next machine nor in a snapshot.
func TestDiskStaysInside(t *testing.T) {
	l, disks := newDisks(t, testConfig())
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, rawImage(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(l.Dir(uuid1), "link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	for _, below := range []string{secret, link, "/proc/self/environ"} {
		qemu(t, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", below, "-F", "raw", disks[0].Path)
		if _, err := l.Build(t.Context(), uuid1, []driver.Volume{{Device: "vda", Existing: true}}); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s under a disk: %v", below, err)
		}
		if path, err := copyTo(l, snap1, disks[0]); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s under a disk is copied to %s: %v", below, path, err)
		}
	}
}

// The data directory may be moved, and may be reached through a symbolic link.
func TestRelocate(t *testing.T) {
	real, other := t.TempDir(), t.TempDir()
	link := filepath.Join(other, "data")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	web := newWeb(t)
	body := rawImage(1 << 20)
	web.put("/i", body)
	open := func(dir string) *Local {
		c, err := NewCache(filepath.Join(dir, "image_cache"), testConfig())
		if err != nil {
			t.Fatal(err)
		}
		l, err := NewLocal(filepath.Join(dir, "instances"), LocalConfig{Cache: c})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open(link)
	image, err := l.Fetch(t.Context(), trusted(web.URL+"/i"), nil)
	if err != nil {
		t.Fatal(err)
	}
	v := []driver.Volume{{Device: "vda", Image: image.ID}, {Device: "hdb", CDROM: true, Image: image.ID}}
	if _, err := l.Build(t.Context(), uuid1, v); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(other, "moved")
	if err := os.Mkdir(moved, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"image_cache", "instances"} {
		if err := os.Rename(filepath.Join(real, sub), filepath.Join(moved, sub)); err != nil {
			t.Fatal(err)
		}
	}
	disks, err := open(moved).Build(t.Context(), uuid1, v)
	if err != nil {
		t.Fatal(err)
	}
	d, err := qcow2.Open(disks[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, len(body))
	if _, err := d.ReadAt(b, 0); err != nil || sum256(b) != image.ID {
		t.Errorf("reads differently: %v", err)
	}
}
