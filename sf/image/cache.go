package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// CacheConfig of a Cache. Only Source is required.
type CacheConfig struct {
	Source Source
	// MaxImage is the largest image file, in bytes as downloaded and as
	// decompressed; 0 is 256 GiB.
	MaxImage int64
	// MaxVirtual is the largest disk an image may describe, in bytes; 0 is 4 TiB.
	MaxVirtual int64
	// MaxRatio is how many bytes of data (holes not counted) a compressed byte may
	// become, beyond the first 64 MiB; 0 is 200.
	MaxRatio int64
	// Reserve is the free space, in bytes, that fetching an image leaves on the file
	// system and that Evict restores; 0 is 1 GiB.
	Reserve int64
	// MaxBytes is what the cached images may occupy before Evict removes some; 0
	// has no limit but Reserve.
	MaxBytes int64
	// MinAge protects images that were asked for lately from Evict; 0 is 10 minutes.
	MinAge time.Duration
	// GiveUp is after how long Evict removes an unfinished download, and an image
	// that its origin has replaced; 0 is 3 days.
	GiveUp time.Duration
	// Recheck is for how long a reference stands for the same image without asking
	// its origin again, also when it did not answer; 0 asks every time.
	Recheck time.Duration
	// Attempts is how often in a row a download may break without a new byte; 0 is 5.
	Attempts int
	// QemuImg is the program that converts VMDK, VDI, VHD and VHDX images; empty
	// looks for qemu-img on the PATH when first needed.
	QemuImg string
	// Now and Sleep are the clock; nil is the real one. Sleep returns early with
	// ctx's error.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	// Log gets what is worth an operator's attention; nil discards.
	Log *slog.Logger
}

// Cache holds the images of a host. Methods are safe for concurrent use.
type Cache struct {
	dir     string
	config  CacheConfig
	flights flights
	// files serialises what adds to, looks up and removes from images, so that an
	// image is not removed between the look and the use.
	files sync.Mutex
	// recent is what references led to lately.
	recentMu sync.Mutex
	recent   map[driver.ImageRef]recent
}

const (
	imagesDir  = "images"
	urlsDir    = "urls"
	namesDir   = "names"
	partialDir = "partial"
	tmpDir     = "tmp"
)

// NewCache opens the cache in dir, which is created if need be, and removes what
// a crash left half done. Unfinished downloads stay and are resumed.
func NewCache(dir string, c CacheConfig) (*Cache, error) {
	c.setDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(dir, tmpDir)); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	for _, sub := range []string{imagesDir, urlsDir, namesDir, partialDir, tmpDir} {
		// Machines may reach an image whose name they know; nobody may look around.
		mode := fs.FileMode(0o700)
		if sub == imagesDir {
			mode = 0o711
		}
		if err := os.MkdirAll(filepath.Join(dir, sub), mode); err != nil {
			return nil, fmt.Errorf("image cache: %w", err)
		}
	}
	return &Cache{dir: dir, config: c, recent: make(map[driver.ImageRef]recent)}, nil
}

func (c *CacheConfig) setDefaults() {
	or := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	or(&c.MaxImage, 256<<30)
	or(&c.MaxVirtual, 4<<40)
	or(&c.MaxRatio, 200)
	or(&c.Reserve, 1<<30)
	or((*int64)(&c.MinAge), int64(10*time.Minute))
	or((*int64)(&c.GiveUp), int64(72*time.Hour))
	if c.Attempts == 0 {
		c.Attempts = 5
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// Cached is an image in the cache.
type Cached struct {
	driver.Image           // without Name
	Path         string    // of the file; open it by Format
	Allocated    int64     // bytes on disk
	Used         time.Time // when it was last asked for
}

var imageFile = regexp.MustCompile(`^([0-9a-f]{64})\.(qcow2|raw|iso)$`)

// Get returns the image with an ID, or ErrNotCached.
func (c *Cache) Get(id string) (Cached, error) {
	c.files.Lock()
	defer c.files.Unlock()
	return c.get(id)
}

func (c *Cache) get(id string) (Cached, error) {
	for _, ext := range []string{".qcow2", ".raw", ".iso"} {
		if !imageFile.MatchString(id + ext) {
			break
		}
		image, err := c.stat(id + ext)
		if !errors.Is(err, fs.ErrNotExist) {
			return image, err
		}
	}
	return Cached{}, fmt.Errorf("%w: %.80q", ErrNotCached, id)
}

// stat describes one file of the images directory. Its name tells the format,
// its header the size, its time of modification the last use: there is no record
// besides that could contradict it.
func (c *Cache) stat(name string) (Cached, error) {
	path := filepath.Join(c.dir, imagesDir, name)
	st, err := os.Stat(path)
	if err != nil {
		return Cached{}, err
	}
	m := imageFile.FindStringSubmatch(name)
	image := Cached{Path: path, Allocated: allocated(st), Used: st.ModTime()}
	image.Image = driver.Image{ID: m[1], Format: "raw", VirtualSize: st.Size(), CDROM: m[2] == "iso"}
	if m[2] == "qcow2" {
		info, err := qcow2.InspectFile(path)
		if err != nil {
			return Cached{}, err
		}
		image.Format, image.VirtualSize = "qcow2", info.VirtualSize
	}
	return image, nil
}

// List returns all images.
func (c *Cache) List() ([]Cached, error) {
	c.files.Lock()
	defer c.files.Unlock()
	return c.list()
}

func (c *Cache) list() ([]Cached, error) {
	entries, err := os.ReadDir(filepath.Join(c.dir, imagesDir))
	if err != nil {
		return nil, err
	}
	var all []Cached
	for _, e := range entries {
		if !imageFile.MatchString(e.Name()) {
			continue
		}
		image, err := c.stat(e.Name())
		if err != nil {
			c.config.Log.Warn("image cache: file ignored", "err", err)
			continue
		}
		all = append(all, image)
	}
	return all, nil
}

// Remove deletes an image, used or not; one that is not here is nil. What was
// laid over it can no longer be read: see Evict for the careful way.
func (c *Cache) Remove(id string) error {
	c.files.Lock()
	defer c.files.Unlock()
	image, err := c.get(id)
	if errors.Is(err, ErrNotCached) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(image.Path)
}

// touch marks an image as used now and returns it under a name.
func (c *Cache) touch(id, name string) (driver.Image, error) {
	c.files.Lock()
	defer c.files.Unlock()
	image, err := c.get(id)
	if err != nil {
		return driver.Image{}, err
	}
	now := c.config.Now()
	if err := os.Chtimes(image.Path, now, now); err != nil {
		return driver.Image{}, err
	}
	image.Name = Redact(name)
	return image.Image, nil
}

// install moves a finished file into the images. An image of the same content
// that is there already stays, and the new file is dropped.
func (c *Cache) install(path, id, ext string) error {
	if err := syncFile(path); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o444); err != nil {
		return err
	}
	c.files.Lock()
	defer c.files.Unlock()
	if _, err := c.get(id); err == nil {
		return os.Remove(path)
	}
	if err := os.Rename(path, filepath.Join(c.dir, imagesDir, id+ext)); err != nil {
		return err
	}
	return syncDir(filepath.Join(c.dir, imagesDir))
}

// syncFile makes the content of a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// replaceFile writes a small file so that a crash leaves the old or the new.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// closeWith closes f and keeps the first error.
func closeWith(f io.Closer, err *error) {
	if cerr := f.Close(); *err == nil {
		*err = cerr
	}
}
