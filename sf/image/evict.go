package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Evict removes the images that were not asked for the longest, as long as the
// cache is larger than MaxBytes or the file system has less than Reserve free. It
// spares what was asked for within MinAge and what inUse reports; inUse is called
// while no image can be put to use, and must not call the Cache. Regardless of
// space go unfinished downloads and images that their origins replaced, both when
// older than GiveUp. It returns what it removed.
func (c *Cache) Evict(ctx context.Context, inUse func(id string) bool) ([]Cached, error) {
	return c.evict(ctx, c.over(0), inUse)
}

// evict is Evict as long as over says so of the total size of the images.
func (c *Cache) evict(ctx context.Context, over func(total int64) (bool, error), inUse func(id string) bool) (removed []Cached, err error) {
	if err := c.sweep(); err != nil {
		return nil, err
	}
	c.files.Lock()
	defer c.files.Unlock()
	images, err := c.list()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(images, func(a, b Cached) int { return a.Used.Compare(b.Used) })
	var total int64
	for _, i := range images {
		if !i.Shared {
			total += i.Allocated
		}
	}
	current, err := c.current()
	if err != nil {
		return nil, err
	}
	now := c.config.Now()
	for _, i := range images {
		over, err := over(total)
		if err != nil || ctx.Err() != nil {
			return removed, errors.Join(err, ctx.Err())
		}
		age := now.Sub(i.Used)
		replaced := !current[i.ID] && age > c.config.GiveUp
		if !replaced && (!over || i.Shared) || age < c.config.MinAge || inUse != nil && inUse(i.ID) {
			continue
		}
		if err := os.Remove(i.Path); err != nil {
			return removed, err
		}
		c.config.Log.Info("image evicted", "id", i.ID, "bytes", i.Allocated, "used", i.Used)
		if !i.Shared {
			total -= i.Allocated
		}
		removed = append(removed, i)
	}
	return removed, nil
}

// current returns the images that some URL gave last.
func (c *Cache) current() (map[string]bool, error) {
	ids := make(map[string]bool)
	err := c.records(urlsDir, func(key string) {
		var o origin
		if c.load(urlsDir, key, &o) && !o.Gone {
			ids[o.ID] = true
		}
	})
	return ids, err
}

// over reports, of the total size of the images, whether something should go so
// that need bytes are free besides the reserve.
func (c *Cache) over(need int64) func(total int64) (bool, error) {
	return func(total int64) (bool, error) {
		if c.config.MaxBytes > 0 && total > c.config.MaxBytes {
			return true, nil
		}
		_, free, err := fileSystem(c.dir)
		return free-need < c.config.Reserve, err
	}
}

// sweep removes old partial files, and records of the index that lead nowhere.
func (c *Cache) sweep() error {
	if err := c.sweepDir(partialDir, func(string) bool { return true }); err != nil {
		return err
	}
	err := c.sweepDir(urlsDir, func(key string) bool {
		var o origin
		if !c.load(urlsDir, key, &o) {
			return true
		}
		_, err := c.Get(o.ID)
		return errors.Is(err, ErrNotCached)
	})
	if err != nil {
		return err
	}
	return c.sweepDir(namesDir, func(key string) bool {
		var r resolved
		if !c.load(namesDir, key, &r) {
			return true
		}
		_, err := os.Stat(c.indexPath(urlsDir, r.URLKey))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// sweepDir removes the files of a directory that are older than GiveUp and
// useless by their key. A download under way keeps its file young.
func (c *Cache) sweepDir(kind string, useless func(key string) bool) error {
	dir := filepath.Join(c.dir, kind)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		old := c.config.Now().Sub(st.ModTime()) > max(c.config.GiveUp, time.Minute)
		if !old || !useless(strings.TrimSuffix(e.Name(), ".json")) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
