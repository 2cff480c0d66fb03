package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// CacheConfig of a Cache. Only Source is required.
type CacheConfig struct {
	Source Source
	// MaxImage is the largest image file, in bytes as downloaded and as
	// decompressed; 0 is 256 GiB.
	MaxImage int64
	// MaxVirtual is the largest disk an image may describe, in bytes; 0 is 4 TiB.
	MaxVirtual int64
	// MaxRatio is how many bytes of data (holes not counted) a byte that is compressed,
	// or in a foreign format, may become, beyond the first 64 MiB; 0 is 200.
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
	// Neighbour is the way to the cache of another host: to its ServeHTTP. The names
	// are those of driver.ImageRef.Near. Nil is no way to any.
	Neighbour func(host string) (base *url.URL, via http.RoundTripper, err error)
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
	recent   map[asked]recent
	// lending holds a token for each image that another host reads just now.
	lending chan struct{}
}

const (
	imagesDir  = "images"
	urlsDir    = "urls"
	namesDir   = "names"
	partialDir = "partial"
	tmpDir     = "tmp"
)

// FilesIn is the directory of a cache's images: the only one in which what lies under
// a disk can be.
func FilesIn(dir string) string { return filepath.Join(dir, imagesDir) }

// NewCache opens the cache in dir, which is created if need be, and removes what
// a crash left half done. Unfinished downloads stay and are resumed.
func NewCache(dir string, c CacheConfig) (*Cache, error) {
	if c.Source == nil {
		return nil, errors.New("image cache: no source")
	}
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
	return &Cache{dir: dir, config: c, recent: make(map[asked]recent), lending: make(chan struct{}, maxLending)}, nil
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
