package image

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// Everything at once: what Build returned can be read down to its image until
// Remove, however much is evicted meanwhile.
func TestConcurrent(t *testing.T) {
	config := testConfig()
	config.MaxBytes, config.MinAge = 1, 1
	l, web, _, _ := newLocal(t, config)
	var bodies [][]byte
	for n := range 3 {
		bodies = append(bodies, rawImage(8192+n*512))
		web.put(fmt.Sprintf("/%d", n), bodies[n])
	}
	var wg sync.WaitGroup
	var built atomic.Int64
	for worker := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(worker)))
			id := fmt.Sprintf("%08d-0000-0000-0000-000000000000", worker)
			for range 25 {
				n := rng.IntN(len(bodies))
				image, err := l.Fetch(t.Context(), trusted(fmt.Sprintf("%s/%d", web.URL, n)), nil)
				if err != nil {
					// Removed between its arrival and its mention.
					if !errors.Is(err, ErrNotCached) {
						t.Errorf("Fetch: %v", err)
					}
					continue
				}
				disks, err := l.Build(t.Context(), id, []driver.Volume{
					{Device: "vda", Size: 1 << 20, Image: image.ID}, {Device: "hdb", CDROM: true, Image: image.ID},
				})
				if errors.Is(err, ErrNotCached) {
					continue
				}
				if err != nil {
					t.Errorf("Build: %v", err)
					continue
				}
				if _, err := l.Evict(t.Context(), nil); err != nil {
					t.Errorf("Evict: %v", err)
				}
				if _, err := l.Space(t.Context()); err != nil {
					t.Errorf("Space: %v", err)
				}
				checkReads(t, disks, bodies[n])
				built.Add(1)
				if err := l.Remove(t.Context(), id); err != nil {
					t.Errorf("Remove: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := built.Load(); n < 10 {
		t.Errorf("only %d of 100 builds found their image: nothing was tested", n)
	}
}

func checkReads(t *testing.T, disks []driver.Disk, body []byte) {
	t.Helper()
	checkDisk(t, disks[0].Path, body)
	if b, err := os.ReadFile(disks[1].Path); err != nil || sum256(b) != sum256(body) {
		t.Errorf("the CD-ROM reads differently: %v", err)
	}
}

// checkDisk checks that a disk begins with body.
func checkDisk(t *testing.T, path string, body []byte) {
	t.Helper()
	d, err := qcow2.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	b := make([]byte, len(body))
	if _, err := d.ReadAt(b, 0); err != nil || sum256(b) != sum256(body) {
		t.Errorf("the disk reads differently: %v", err)
	}
}

// A Build that was killed at any point left some of these; doing it again
// completes it.
func TestBuildAfterCrash(t *testing.T) {
	l, _, raw, iso := newLocal(t, testConfig())
	volumes := []driver.Volume{
		{Device: "vda", Size: 1 << 30, Image: raw.ID}, {Device: "vdb", Content: []byte("config")}, {Device: "hdc", CDROM: true, Image: iso.ID},
	}
	dir := l.Dir(uuid1)
	link := func(path string) { os.Symlink("../nowhere", path) }
	file := func(path string) { os.WriteFile(path, []byte("half"), 0o400) }
	folder := func(path string) { os.Mkdir(path, 0o700) }
	for name, leave := range map[string]func(){
		"nothing":      func() {},
		"directory":    func() {},
		"half disk":    func() { file(dir + "/.tmp-vda.qcow2") },
		"half content": func() { file(dir + "/.tmp-vdb.raw") },
		"half link":    func() { link(dir + "/.tmp-hdc.cdrom") },
		"oddity":       func() { folder(dir + "/.tmp-vda.qcow2") },
		"first done":   func() { l.Build(t.Context(), uuid1, volumes[:1]) },
		"last done":    func() { l.Build(t.Context(), uuid1, volumes[2:]) },
	} {
		t.Run(name, func(t *testing.T) {
			if name != "nothing" {
				folder(dir)
			}
			leave()
			disks, err := l.Build(t.Context(), uuid1, volumes)
			if err != nil || len(disks) != 3 {
				t.Fatalf("%v, %v", disks, err)
			}
			entries, _ := os.ReadDir(dir)
			if len(entries) != 3 {
				t.Errorf("%v", entries)
			}
			for _, d := range disks {
				if _, err := os.Stat(d.Path); err != nil {
					t.Error(err)
				}
			}
			if err := l.Remove(t.Context(), uuid1); err != nil {
				t.Error(err)
			}
		})
	}
}
