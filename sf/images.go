package sf

import (
	"context"
	"io"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/spec"
)

// Progress of a download, in bytes.
type Progress = driver.Progress

// nodeHere says so where this process runs no node.
func (c *Cloud) nodeHere() error {
	if c.agent == nil {
		return spec.Errorf(ErrUnavailable, "this process runs no node")
	}
	return nil
}

// Images returns what this process's node has in its image cache, the most
// recently used first.
func (c *Cloud) Images(ctx context.Context) ([]*CachedImage, error) {
	if err := c.nodeHere(); err != nil {
		return nil, err
	}
	return c.agent.Images(ctx)
}

// CacheImage fetches an image into the cache of this process's node ahead of its
// first use: a URL or a shorthand, from anywhere, the host itself included.
// report (may be nil) is told of progress. ErrInvalid for one that cannot be
// used, ErrUnavailable for an origin that cannot be reached.
func (c *Cloud) CacheImage(ctx context.Context, name string, report func(Progress)) error {
	if err := c.nodeHere(); err != nil {
		return err
	}
	if name == "" || len(name) > 2048 {
		return spec.Errorf(ErrInvalid, "no image specified")
	}
	_, err := c.agent.CacheImage(ctx, name, report)
	return err
}

// DeleteImage removes an image from the cache of this process's node by its ID;
// ErrInUse while a disk is laid over it.
func (c *Cloud) DeleteImage(ctx context.Context, id string) error {
	if err := c.nodeHere(); err != nil {
		return err
	}
	return c.agent.RemoveImage(ctx, id)
}

// Display opens an instance's screen for one viewer, speaking VNC (RFB).
func (c *Cloud) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	if err := c.here(ctx, id); err != nil {
		return nil, err
	}
	return c.agent.Display(ctx, id)
}
