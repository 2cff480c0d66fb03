package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

var _ driver.Images = (*Local)(nil)

// ListImages implements driver.Images.
func (l *Local) ListImages(context.Context) ([]driver.CachedImage, error) {
	c := l.config.Cache
	c.files.Lock()
	defer c.files.Unlock()
	images, err := c.list()
	if err != nil {
		return nil, err
	}
	all, err := l.describe(images)
	slices.SortFunc(all, func(a, b driver.CachedImage) int {
		if n := b.Used.Compare(a.Used); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, err
}

// describe adds to images what they are called and how many volumes use them.
// The caller holds the cache's lock.
func (l *Local) describe(images []Cached) ([]driver.CachedImage, error) {
	users, damaged, err := l.users()
	if err != nil {
		return nil, err
	}
	if damaged != nil {
		l.config.Cache.config.Log.Warn("images may have more users than are listed", "err", damaged)
	}
	names, err := l.config.Cache.names()
	if err != nil {
		return nil, err
	}
	all := make([]driver.CachedImage, 0, len(images))
	for _, i := range images {
		d := driver.CachedImage{Image: i.Image, Names: names[i.ID].asked, Size: i.Allocated, Used: i.Used, Users: users[i.ID]}
		d.Name = names[i.ID].url
		if len(d.Names) == 0 && d.Name != "" {
			d.Names = []string{d.Name}
		}
		all = append(all, d)
	}
	return all, nil
}

// known is what an image is called.
type known struct {
	url   string
	asked []string // sorted
}

// names returns what the images are called, by ID.
func (c *Cache) names() (map[string]known, error) {
	all := make(map[string]known)
	ids := make(map[string]string) // by key of the URL
	err := c.records(urlsDir, func(key string) {
		var o origin
		if c.load(urlsDir, key, &o) {
			ids[key] = o.ID
			k := all[o.ID]
			// Several mirrors may have given it: always the same is named.
			if k.url == "" || o.URL < k.url {
				k.url = o.URL
			}
			all[o.ID] = k
		}
	})
	if err != nil {
		return nil, err
	}
	err = c.records(namesDir, func(key string) {
		var r resolved
		if c.load(namesDir, key, &r) && ids[r.URLKey] != "" {
			k := all[ids[r.URLKey]]
			k.asked = append(k.asked, r.Name)
			all[ids[r.URLKey]] = k
		}
	})
	for _, k := range all {
		slices.Sort(k.asked)
	}
	return all, err
}

// records calls f with the keys of all records of a kind.
func (c *Cache) records(kind string, f func(key string)) error {
	entries, err := os.ReadDir(filepath.Join(c.dir, kind))
	for _, e := range entries {
		if key, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			f(key)
		}
	}
	return err
}

// RemoveImage implements driver.Images.
func (l *Local) RemoveImage(_ context.Context, id string) error {
	c := l.config.Cache
	c.files.Lock()
	defer c.files.Unlock()
	image, err := c.get(id)
	if errors.Is(err, ErrNotCached) {
		return fmt.Errorf("%w: %w", driver.ErrNotFound, err)
	}
	if err != nil {
		return err
	}
	users, damaged, err := l.users()
	if err = errors.Join(damaged, err); err != nil {
		return fmt.Errorf("remove image %s: whether a disk needs it is not known: %w", id, err)
	}
	if n := users[id]; n > 0 {
		return fmt.Errorf("%w: image %s is under %d volumes; delete their instances first", driver.ErrState, id, n)
	}
	return os.Remove(image.Path)
}

// EvictImages implements driver.Images. Like Evict it spares what was asked for
// within MinAge, which may be about to be used, and removes what nobody will ask
// for again. An image that is also a snapshot stays: its bytes would too.
func (l *Local) EvictImages(ctx context.Context, free int64) ([]driver.CachedImage, error) {
	c := l.config.Cache
	short := func(int64) (bool, error) {
		_, now, err := fileSystem(c.dir)
		return now < free, err
	}
	names, err := c.names()
	if err != nil {
		return nil, err
	}
	removed, err := c.evict(ctx, short, l.referenced())
	gone := make([]driver.CachedImage, 0, len(removed))
	for _, i := range removed {
		i.Name = names[i.ID].url
		gone = append(gone, driver.CachedImage{Image: i.Image, Names: names[i.ID].asked, Size: i.Allocated, Used: i.Used})
	}
	return gone, err
}
