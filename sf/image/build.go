package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// Build implements driver.Volumes. What it cannot make is driver.ErrInvalid,
// an image that was evicted since it was fetched is ErrNotCached and driver.ErrNotFound.
func (l *Local) Build(ctx context.Context, id string, volumes []driver.Volume) ([]driver.Disk, error) {
	if err := checkVolumes(volumes); err != nil {
		return nil, err
	}
	dir, unlock, err := l.instance(id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Others may pass through, to what a driver opens to them by its mode.
	err = os.Mkdir(dir, 0o711)
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, l.config.Cache.noSpace(err, 0)
	}
	disks := make([]driver.Disk, 0, len(volumes))
	for _, v := range volumes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		disk, err := l.volume(dir, v)
		if err != nil {
			return nil, fmt.Errorf("volume %s of %s: %w", v.Device, id, l.config.Cache.noSpace(err, 0))
		}
		disks = append(disks, disk)
	}
	return disks, syncDir(dir)
}

// maxVolume is the largest disk that is made, in bytes: 1 PiB.
const maxVolume = 1 << 50

// checkVolumes finds what cannot be made, before anything is.
func checkVolumes(volumes []driver.Volume) error {
	seen := make(map[string]bool)
	for _, v := range volumes {
		problem := ""
		switch {
		case !deviceForm.MatchString(v.Device):
			problem = "use a device name such as vda"
		case seen[v.Device]:
			problem = "two volumes have this name"
		case v.Content != nil && v.Image != "":
			problem = "it has both an image and content"
		case v.CDROM && v.Image == "" && v.Content == nil:
			problem = "a CD-ROM needs an image"
		case v.Size < 0 || v.Size > maxVolume:
			problem = fmt.Sprintf("its size is %d bytes, use one from 1 to %d", v.Size, int64(maxVolume))
		case v.Size == 0 && v.Image == "" && v.Content == nil && !v.Existing:
			problem = "a blank disk needs a size"
		}
		if problem != "" {
			return fmt.Errorf("%w: volume %.80q: %s", driver.ErrInvalid, v.Device, problem)
		}
		seen[v.Device] = true
	}
	return nil
}

// volume makes one volume in dir, or finds it there.
func (l *Local) volume(dir string, v driver.Volume) (driver.Disk, error) {
	d := driver.Disk{Device: v.Device, Bus: v.Bus, CDROM: v.CDROM, ReadOnly: v.CDROM || v.Content != nil, Serial: v.Serial}
	var create func(path string) error
	switch {
	case v.Content != nil:
		d.Path, d.Format = filepath.Join(dir, v.Device+".raw"), "raw"
		create = func(path string) error { return writeContent(path, v.Content) }
	case v.CDROM:
		return l.cdrom(dir, d, v.Image)
	default:
		d.Path, d.Format = filepath.Join(dir, v.Device+".qcow2"), "qcow2"
		create = func(path string) error { return l.disk(dir, path, v) }
	}
	_, err := os.Lstat(d.Path)
	if errors.Is(err, fs.ErrNotExist) && v.Existing {
		err = fmt.Errorf("%w: it was brought here, and is gone from %s: put it back, or delete the instance", driver.ErrInvalid, d.Path)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = l.place(d.Path, v.Image, create)
	} else if err == nil && d.Format == "qcow2" {
		_, err = l.layers(driver.Disk{Path: d.Path, Format: d.Format})
	}
	return d, err
}

// place makes a file under another name and renames it when it is complete and
// on disk. An image under it cannot be evicted meanwhile.
func (l *Local) place(path, image string, create func(path string) error) error {
	tmp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err := os.RemoveAll(tmp); err != nil { // of an earlier try
		return err
	}
	if image != "" {
		l.config.Cache.files.Lock()
		defer l.config.Cache.files.Unlock()
	}
	err := create(tmp)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// writeContent writes a file and makes it durable.
func writeContent(path string, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer closeWith(f, &err)
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// disk makes a blank disk, or one over an image.
func (l *Local) disk(dir, path string, v driver.Volume) error {
	o := qcow2.Options{Size: (v.Size + sector - 1) &^ (sector - 1), ClusterSize: l.config.ClusterSize}
	if v.Image != "" {
		image, name, err := l.lookup(dir, v.Image)
		if err != nil {
			return err
		}
		if o.Size == 0 {
			o.Size = (image.VirtualSize + sector - 1) &^ (sector - 1)
		}
		if o.Size < image.VirtualSize {
			return fmt.Errorf("%w: a disk of %s (%d bytes) is smaller than its image, which has %s (%d bytes): ask for %d GB or more",
				driver.ErrInvalid, bytesText(v.Size), v.Size, bytesText(image.VirtualSize), image.VirtualSize, (image.VirtualSize+1<<30-1)>>30)
		}
		o.BackingFile, o.BackingFormat = name, image.Format
	}
	if err := o.Validate(); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	if err := qcow2.Create(path, o); err != nil {
		return err
	}
	return syncFile(path)
}

// lookup returns an image and its name as seen from dir. The caller holds the
// cache's lock.
func (l *Local) lookup(dir, id string) (Cached, string, error) {
	image, err := l.config.Cache.get(id)
	if errors.Is(err, ErrNotCached) {
		err = evicted{err}
	}
	if err != nil {
		return Cached{}, "", err
	}
	real, err := filepath.EvalSymlinks(image.Path)
	if err != nil {
		return Cached{}, "", err
	}
	name, err := filepath.Rel(dir, real)
	return image, name, err
}

// evicted is driver.ErrNotFound, whose text is about machines, in words of its own.
type evicted struct{ error }

func (e evicted) Unwrap() error        { return e.error }
func (e evicted) Is(target error) bool { return target == driver.ErrNotFound }

// cdrom links to an image that is attached as it is.
func (l *Local) cdrom(dir string, d driver.Disk, id string) (driver.Disk, error) {
	link := filepath.Join(dir, d.Device+".cdrom")
	if _, err := os.Lstat(link); errors.Is(err, fs.ErrNotExist) {
		err := l.place(link, id, func(path string) error {
			_, name, err := l.lookup(dir, id)
			if err != nil {
				return err
			}
			return os.Symlink(name, path)
		})
		if err != nil {
			return d, err
		}
	}
	name, err := os.Readlink(link)
	if err != nil {
		return d, err
	}
	d.Path, d.Format = filepath.Join(dir, name), "raw"
	if filepath.Ext(name) == ".qcow2" {
		d.Format = "qcow2"
	}
	if _, err := os.Stat(d.Path); err != nil {
		return d, fmt.Errorf("its image is gone: %w", err)
	}
	return d, nil
}

// layers returns the files of an existing disk, the top first, when all are there. The
// header of a disk is in the hands of its machine's process, which a guest may have
// broken into: below it are images of the cache and nothing else of the host's.
func (l *Local) layers(d driver.Disk) ([]qcow2.Layer, error) {
	if d.Format != "qcow2" {
		return []qcow2.Layer{{Path: d.Path, Format: d.Format}}, nil
	}
	images, err := filepath.EvalSymlinks(FilesIn(l.config.Cache.dir))
	if err != nil {
		return nil, err
	}
	return qcow2.ChainWithin(d.Path, func(path string) error {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("its image is gone: %w", err)
		}
		if filepath.Dir(real) != images {
			return fmt.Errorf("%w: its header names %s below it, which is no image of the cache: it was changed by somebody who is not to", ErrUnsafe, path)
		}
		return nil
	})
}
