package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/spec"
)

// tendEvery is how often room for images is looked after.
const tendEvery = time.Minute

// images returns the cache of this node.
func (a *Agent) images() (driver.Images, error) {
	images, ok := a.Volumes.(driver.Images)
	if !ok {
		return nil, fmt.Errorf("the image cache: %w by this node's volumes", errors.ErrUnsupported)
	}
	return images, nil
}

// Images returns what this node has cached.
func (a *Agent) Images(ctx context.Context) ([]*spec.CachedImage, error) {
	images, err := a.images()
	if err != nil {
		return nil, err
	}
	list, err := images.ListImages(ctx)
	if err != nil {
		return nil, err
	}
	all := []*spec.CachedImage{}
	for _, i := range list {
		all = append(all, &spec.CachedImage{
			ID: i.ID, Names: i.Names, Node: a.Name, Format: i.Format, CDROM: i.CDROM,
			Size: i.Size, VirtualSize: i.VirtualSize, Used: i.Used, Users: i.Users,
		})
	}
	return all, nil
}

// CacheImage fetches an image for an administrator.
func (a *Agent) CacheImage(ctx context.Context, name string, report func(driver.Progress)) (driver.Image, error) {
	img, err := a.obtain(ctx, driver.ImageRef{Name: name, Trusted: true}, report)
	name = driver.Redact(name)
	switch {
	case err == nil:
		return img, nil
	case permanent(err):
		return img, spec.Errorf(spec.ErrInvalid, "image %s", name).About("image", name).Because(err)
	case errors.Is(err, driver.ErrNoSpace):
		return img, spec.Errorf(spec.ErrNoCapacity, "insufficient capacity: image %s", name).About("image", name).Because(err)
	}
	return img, spec.Errorf(spec.ErrUnavailable, "image %s", name).About("image", name).Because(err)
}

// RemoveImage removes an image from the cache.
func (a *Agent) RemoveImage(ctx context.Context, id string) error {
	images, err := a.images()
	if err != nil {
		return err
	}
	err = images.RemoveImage(ctx, id)
	a.queue.Add(keyTend)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return spec.Errorf(spec.ErrNotFound, "image not found").About("image", id)
	case errors.Is(err, driver.ErrState):
		return spec.Errorf(spec.ErrInUse, "image %s is in use", id).About("image", id).Because(err)
	}
	return err
}

// tend evicts images that nobody uses where the disk runs full, and forgets those
// that are gone.
func (a *Agent) tend(ctx context.Context) (time.Duration, error) {
	images, err := a.images()
	if err != nil {
		return never, nil
	}
	err = a.evict(ctx, images)
	return tendEvery, errors.Join(err, a.letGo(ctx, images))
}

func (a *Agent) evict(ctx context.Context, images driver.Images) error {
	space, err := a.Volumes.Space(ctx)
	floor := min(a.MinFreeDisk, space.Total/10)
	if err != nil || space.Free >= floor {
		return err
	}
	gone, err := images.EvictImages(ctx, floor)
	for _, i := range gone {
		a.Logger.Info("evicted an image: the disk runs full", "node", a.Name, "image", i.Name, "bytes", i.Size)
	}
	return err
}

// Display opens an instance's screen.
func (a *Agent) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	d, ok := driver.As[driver.Displayer](a.Hypervisor)
	if !ok {
		return nil, spec.Errorf(spec.ErrUnavailable, "this node's hypervisor has no screens").About("instance", id)
	}
	rwc, err := d.Display(ctx, id)
	switch {
	case errors.Is(err, driver.ErrNotFound), errors.Is(err, driver.ErrState):
		return nil, spec.Errorf(spec.ErrConflict, "the instance is not running, so it has no screen now").About("instance", id).Because(err)
	case errors.Is(err, driver.ErrInvalid):
		return nil, spec.Errorf(spec.ErrInvalid, "the instance has no screen (video model none)").About("instance", id).Because(err)
	}
	return rwc, err
}
