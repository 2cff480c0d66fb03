package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shakenfist/cloud/driver"
)

// snapshotScheme begins the name of an image that is a snapshot on this host:
// "snapshot:UUID", or "snapshot:UUID/DEVICE" for another than its first disk.
const snapshotScheme = "snapshot:"

// snapshotName is the full name of an image that is a snapshot.
func snapshotName(id, device string) string { return snapshotScheme + id + "/" + device }

// fetchSnapshot makes a file of a finished snapshot an image of the cache: by a
// hard link where it can, so that it outlives the snapshot and takes no room. Who
// may use a snapshot is for the caller to know.
func (l *Local) fetchSnapshot(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, error) {
	id, device, named := strings.Cut(strings.TrimPrefix(ref.Name, snapshotScheme), "/")
	wrong := func(err error) (driver.Image, error) {
		return driver.Image{}, permanent("resolve", fmt.Sprintf("%.120s", ref.Name), err, "")
	}
	dir, unlock, err := l.snapshot(id)
	if err != nil {
		return wrong(err)
	}
	defer unlock()
	if named {
		if err := checkDevice(device); err != nil {
			return wrong(err)
		}
	}
	m, err := readManifest(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong(errNoSnapshot)
	case err != nil:
		return driver.Image{}, fail("resolve", ref.Name, err, "")
	case !named && len(m.Files) > 0:
		device = m.Files[0].Device
	case !m.has(device):
		return wrong(fmt.Errorf("%w: it has no device %.16q", errNoSnapshot, device))
	}
	name := snapshotName(id, device)
	c := l.config.Cache
	image, err := c.touch(key(name), name)
	if !errors.Is(err, ErrNotCached) {
		return image, err
	}
	return c.adopt(ctx, filepath.Join(dir, device+".qcow2"), name, c.throttle(report))
}

// adopt makes a file that nobody changes any more an image. Its ID is the hash of
// its name, which stands for its content, so that gigabytes need not be read. No
// other image has this ID: what it is the hash of is too short to be one.
func (c *Cache) adopt(ctx context.Context, path, name string, report func(driver.Progress)) (driver.Image, error) {
	id := key(name)
	kind, err := c.inspect(ctx, path)
	if err != nil {
		return driver.Image{}, fail("inspect", name, err, "")
	}
	if kind.format != "qcow2" {
		return driver.Image{}, fail("inspect", name, fmt.Errorf("%w: it is no qcow2 file", ErrFormat), "")
	}
	// First its name, so that an image is never there without one.
	err = c.save(urlsDir, key(name), origin{URL: name, ID: id, Size: kind.size})
	if err == nil {
		err = c.link(path, id+kind.ext())
	}
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EMLINK) || errors.Is(err, errors.ErrUnsupported) {
		err = c.copyIn(ctx, path, id, kind, report)
	}
	if err != nil {
		return driver.Image{}, fail("install", name, c.noSpace(err, kind.size), "")
	}
	return c.touch(id, name)
}

// link makes a file an image under a second name.
func (c *Cache) link(path, name string) error {
	c.files.Lock()
	defer c.files.Unlock()
	err := os.Link(path, filepath.Join(c.dir, imagesDir, name))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Join(c.dir, imagesDir))
}

// copyIn makes a file of another file system an image.
func (c *Cache) copyIn(ctx context.Context, path, id string, k kind, report func(driver.Progress)) error {
	if err := c.room(k.size); err != nil {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Join(c.dir, tmpDir), "snapshot-")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name())
	defer to.Close()
	for done := int64(0); done < k.size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.CopyN(to, from, min(roomEvery, k.size-done))
		if err != nil {
			return err
		}
		done += n
		report(driver.Progress{Stage: "copying", Done: done, Total: k.size})
	}
	if err := to.Close(); err != nil {
		return err
	}
	return c.install(to.Name(), id, k.ext())
}

// dropImages removes the images that were made of a finished snapshot, but for
// those that volumes are laid over: they go when they are free.
func (l *Local) dropImages(id, dir string) error {
	files, err := os.ReadDir(dir) // not its manifest, which may be damaged
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c := l.config.Cache
	for _, f := range files {
		device, ok := strings.CutSuffix(f.Name(), ".qcow2")
		if !ok {
			continue
		}
		name := snapshotName(id, device)
		err := l.RemoveImage(context.Background(), key(name))
		if errors.Is(err, driver.ErrState) {
			err = c.save(urlsDir, key(name), origin{URL: name, ID: key(name), Gone: true})
		}
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
	}
	return nil
}
