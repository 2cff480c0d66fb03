package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// Cached is an image in the cache.
type Cached struct {
	driver.Image           // without Name
	Path         string    // of the file; open it by Format
	Allocated    int64     // bytes on disk
	Used         time.Time // when it was last asked for
	Shared       bool      // it is also a snapshot here: removing it would free nothing
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
	image := Cached{Path: path, Allocated: allocated(st), Used: st.ModTime(), Shared: links(st) > 1}
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
