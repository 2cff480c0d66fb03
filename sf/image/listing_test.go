package image

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/driver"
)

func TestListImages(t *testing.T) {
	c := testConfig()
	now := time.Unix(1e9, 0)
	c.Now = func() time.Time { return now }
	l, web, raw, iso := newLocal(t, c)
	now = now.Add(time.Hour)
	if _, err := l.Fetch(t.Context(), trusted(web.URL+"/raw"), nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{uuid1, uuid2} {
		volumes := []driver.Volume{{Device: "vda", Image: raw.ID}, {Device: "vdb", Image: raw.ID}, {Device: "vdc", Size: 1 << 20}, {Device: "hdd", CDROM: true, Image: iso.ID}}
		if _, err := l.Build(t.Context(), id, volumes); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []driver.CachedImage {
		t.Helper()
		all, err := l.ListImages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for k := range all {
			if all[k].Size <= 0 {
				t.Errorf("%+v occupies nothing", all[k])
			}
			all[k].Size, all[k].Used = 0, all[k].Used.UTC()
		}
		return all
	}
	want := []driver.CachedImage{
		{Image: raw, Names: []string{web.URL + "/raw"}, Used: now.UTC(), Users: 4},
		{Image: iso, Names: []string{web.URL + "/iso"}, Used: now.Add(-time.Hour).UTC(), Users: 2},
	}
	if d := cmp.Diff(want, list()); d != "" {
		t.Error(d)
	}
	disk := driver.Disk{Device: "vdc", Path: l.Dir(uuid1) + "/vdc.qcow2", Format: "qcow2"}
	mustSnapshot(t, l, snap1, disk)
	now = now.Add(time.Hour)
	image, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + snap1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want = slices.Insert(want, 0, driver.CachedImage{Image: image, Names: []string{"snapshot:" + snap1 + "/vdc"}, Used: now.UTC()})
	if d := cmp.Diff(want, list()); d != "" {
		t.Error(d)
	}
}

func TestRemoveImage(t *testing.T) {
	l, web, raw, iso := newLocal(t, testConfig())
	volumes := []driver.Volume{{Device: "vda", Image: raw.ID}, {Device: "hdd", CDROM: true, Image: iso.ID}}
	if _, err := l.Build(t.Context(), uuid1, volumes); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{raw.ID, iso.ID} {
		if err := l.RemoveImage(t.Context(), id); !errors.Is(err, driver.ErrState) {
			t.Errorf("in use: %v", err)
		}
		if _, err := l.config.Cache.Get(id); err != nil {
			t.Errorf("in use: %v", err)
		}
	}
	for _, id := range []string{"", "x", "../" + raw.ID, sum256(nil)} {
		if err := l.RemoveImage(t.Context(), id); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	// What cannot be read may lie over anything.
	broken := l.Dir(uuid1) + "/vdb.qcow2"
	os.WriteFile(broken, []byte("?"), 0o600)
	if err := l.RemoveImage(t.Context(), raw.ID); err == nil {
		t.Error("removed though its users are not known")
	}
	os.Remove(broken)
	if err := l.Remove(t.Context(), uuid1); err != nil {
		t.Fatal(err)
	}
	if err := l.RemoveImage(t.Context(), raw.ID); err != nil {
		t.Error(err)
	}
	if err := l.RemoveImage(t.Context(), raw.ID); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	// It can be had again.
	if again, err := l.Fetch(t.Context(), trusted(web.URL+"/raw"), nil); err != nil || again != raw {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestEvictImages(t *testing.T) {
	c := testConfig()
	now := time.Now()
	c.Now = func() time.Time { return now }
	l, web, raw, iso := newLocal(t, c)
	web.put("/young", rawImage(8192))
	disks, err := l.Build(t.Context(), uuid1, []driver.Volume{{Device: "vda", Image: raw.ID}})
	if err != nil {
		t.Fatal(err)
	}
	mustSnapshot(t, l, snap1, disks[0])
	snap, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + snap1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	young, err := l.Fetch(t.Context(), trusted(web.URL+"/young"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := l.EvictImages(t.Context(), 1); err != nil || len(gone) > 0 {
		t.Errorf("with room: %v, %v", gone, err)
	}
	// More than any disk has: all that may go, which is not what is used, was just
	// fetched, or is a snapshot as well.
	gone, err := l.EvictImages(t.Context(), 1<<60)
	if err != nil || len(gone) != 1 || gone[0].Image != iso || gone[0].Size <= 0 || !slices.Equal(gone[0].Names, []string{web.URL + "/iso"}) {
		t.Errorf("on a full disk: %+v, %v", gone, err)
	}
	for _, i := range []driver.Image{raw, snap, young} {
		if _, err := l.config.Cache.Get(i.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.config.Cache.Get(iso.ID); !errors.Is(err, ErrNotCached) {
		t.Errorf("evicted: %v", err)
	}
}

// Snapshots made, fetched, built upon, removed and evicted all at once: what
// Build returned can be read until Remove.
func TestConcurrentSnapshots(t *testing.T) {
	config := testConfig()
	config.MaxBytes, config.MinAge = 1, 1
	l, disks := newDisks(t, config)
	body := make([]byte, 6<<20)
	for k := range 5 << 20 {
		body[k] = 44
	}
	for _, id := range []string{snap1, snap2} {
		mustSnapshot(t, l, id, disks[1])
	}
	var wg sync.WaitGroup
	var built atomic.Int64
	done := make(chan struct{})
	var maker sync.WaitGroup
	maker.Go(func() {
		for n := 0; ; n++ {
			id := []string{snap1, snap2}[n%2]
			err := l.RemoveSnapshot(t.Context(), id)
			if err == nil {
				_, err = copyTo(l, id, disks[1])
			}
			if err == nil {
				_, err = l.FinishSnapshot(t.Context(), id)
			}
			if err != nil {
				t.Error(err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for worker := range 3 {
		wg.Go(func() {
			for n := range 12 {
				id := fmt.Sprintf("%08d-0000-0000-0000-%012d", worker, n)
				image, err := l.Fetch(t.Context(), driver.ImageRef{Name: "snapshot:" + []string{snap1, snap2}[n%2]}, nil)
				if errors.Is(err, driver.ErrNotFound) || errors.Is(err, ErrNotCached) {
					continue
				}
				if err != nil {
					t.Errorf("Fetch: %v", err)
					continue
				}
				made, err := l.Build(t.Context(), id, []driver.Volume{{Device: "vda", Size: 1 << 30, Image: image.ID}, {Device: "hdb", CDROM: true, Image: image.ID}})
				if errors.Is(err, ErrNotCached) {
					continue
				}
				if err != nil {
					t.Errorf("Build: %v", err)
					continue
				}
				for _, evict := range []func() error{
					func() error { _, err := l.EvictImages(t.Context(), 1<<60); return err },
					func() error { _, err := l.ListImages(t.Context()); return err },
				} {
					if err := evict(); err != nil {
						t.Error(err)
					}
				}
				if err := l.RemoveImage(t.Context(), image.ID); !errors.Is(err, driver.ErrState) {
					t.Errorf("an image in use was removed: %v", err)
				}
				checkDisk(t, made[0].Path, body)
				built.Add(1)
				if err := l.Remove(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	maker.Wait()
	if n := built.Load(); n < 3 {
		t.Errorf("only %d builds found their image: nothing was tested", n)
	}
}
