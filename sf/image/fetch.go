package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// Fetch makes the image that ref names present, as driver.Volumes says. When the
// origin cannot be asked, or no longer has the image, what is cached is returned
// as Stale; when its address is forbidden to the caller or it denies access, it
// is not.
func (c *Cache) Fetch(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, error) {
	report = c.throttle(report)
	if image, ok := c.remembered(ref); ok {
		return image, nil
	}
	for try := 1; ; try++ {
		report(driver.Progress{Stage: "resolving"})
		image, err := c.fetch(ctx, ref, report)
		// The origin changed while we read, or its checksum and its bytes are of
		// different days: look again.
		again := errors.Is(err, ErrChanged) && try < lookups || errors.Is(err, ErrChecksum) && try == 1
		if !again {
			if err == nil {
				c.remember(ref, image)
			}
			return image, err
		}
		c.config.Log.Info("image looked up again", "image", Redact(ref.Name), "err", err)
	}
}

// lookups is how often an image that changes under our hands is looked up.
const lookups = 3

// fetch looks a reference up once and gets what it names.
func (c *Cache) fetch(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, error) {
	d, err := c.config.Source.Resolve(ctx, ref)
	if err != nil {
		return c.stale(ctx, ref, err, report)
	}
	var old resolved
	name := resolved{Name: Redact(ref.Name), URLKey: key(d.URL), Checksum: d.Checksum}
	if !c.load(namesDir, key(ref.Name), &old) || old != name {
		if err := c.save(namesDir, key(ref.Name), name); err != nil {
			return driver.Image{}, c.noSpace(err, 0)
		}
	}
	if image, ok := c.fresh(d); ok {
		return image, nil
	}
	return c.flights.do(ctx, d.URL+"#"+d.Checksum.Hex, report, func(report func(driver.Progress)) (driver.Image, error) {
		if image, ok := c.fresh(d); ok { // by an earlier flight
			return image, nil
		}
		if image, ok := c.borrow(ctx, d, report); ok || ctx.Err() != nil {
			return image, context.Cause(ctx)
		}
		return c.obtain(ctx, d, report)
	})
}

// asked is a reference without hints.
type asked struct {
	name    string
	trusted bool
}

// recent is what a reference led to.
type recent struct {
	image driver.Image
	at    time.Time
}

// remembered returns what ref led to within Recheck.
func (c *Cache) remembered(ref driver.ImageRef) (driver.Image, bool) {
	c.recentMu.Lock()
	r, ok := c.recent[asked{ref.Name, ref.Trusted}]
	c.recentMu.Unlock()
	if !ok || c.config.Now().Sub(r.at) >= c.config.Recheck {
		return driver.Image{}, false
	}
	image, err := c.touch(r.image.ID, r.image.Name)
	image.Stale = r.image.Stale
	return image, err == nil
}

const maxRecent = 1000

// remember notes what ref led to.
func (c *Cache) remember(ref driver.ImageRef, image driver.Image) {
	if c.config.Recheck <= 0 {
		return
	}
	c.recentMu.Lock()
	defer c.recentMu.Unlock()
	if len(c.recent) >= maxRecent {
		clear(c.recent)
	}
	c.recent[asked{ref.Name, ref.Trusted}] = recent{image: image, at: c.config.Now()}
}

// fresh returns the cached image if it is what d describes.
func (c *Cache) fresh(d Description) (driver.Image, bool) {
	var o origin
	if !c.load(urlsDir, key(d.URL), &o) || !o.provides(d) {
		return driver.Image{}, false
	}
	image, err := c.touch(o.ID, d.URL)
	if err == nil && o.Trusted && !d.Ref.Trusted {
		// A tenant can get it by itself, so it may have it when it is stale.
		o.Trusted = false
		err = c.save(urlsDir, key(d.URL), o)
	}
	return image, err == nil
}

// stale returns what is cached, here or at a neighbour, for a reference that could
// not be resolved, or the error that says why not.
func (c *Cache) stale(ctx context.Context, ref driver.ImageRef, err error, report func(driver.Progress)) (driver.Image, error) {
	if ctx.Err() != nil || errors.Is(err, ErrForbidden) || errors.Is(err, ErrDenied) {
		return driver.Image{}, err
	}
	image, ok := c.kept(ref)
	if !ok {
		image, ok = c.borrowStale(ctx, ref, report)
	}
	if !ok {
		return driver.Image{}, err
	}
	c.config.Log.Warn("image origin unavailable, using the cached image", "image", image.Name, "id", image.ID, "err", err)
	image.Stale = true
	return image, nil
}

// kept returns what the cache has had for a reference.
func (c *Cache) kept(ref driver.ImageRef) (driver.Image, bool) {
	var name resolved
	var o origin
	if !c.load(namesDir, key(ref.Name), &name) || !c.load(urlsDir, name.URLKey, &o) || !o.servesStale(ref, name) {
		return driver.Image{}, false
	}
	image, err := c.touch(o.ID, o.URL)
	return image, err == nil
}

// servesStale reports whether what was fetched may be had without asking the
// origin. What an administrator could reach is not for tenants to read by its name,
// and a checksum holds without its origin too.
func (o origin) servesStale(ref driver.ImageRef, name resolved) bool {
	return (ref.Trusted || !o.Trusted) && (name.Checksum.Hex == "" || o.Sums[name.Checksum.Algorithm] == name.Checksum.Hex)
}

// obtain is one way from the origin into the cache.
func (c *Cache) obtain(ctx context.Context, d Description, report func(driver.Progress)) (driver.Image, error) {
	p, err := c.openPartial(ctx, d, report)
	if err != nil {
		return driver.Image{}, fail("download", d.URL, c.noSpace(err, 0), "")
	}
	defer p.close()
	got, err := c.bring(ctx, d, p, report)
	if err != nil {
		return driver.Image{}, err
	}
	o := origin{
		URL: Redact(d.URL), ID: got.id, Size: p.size, ETag: d.ETag, LastModified: d.LastModified,
		Sums: p.sums(), Trusted: d.Ref.Trusted, Made: got.made,
	}
	return c.know(d.URL, o, p)
}

// know notes what a URL gave, and forgets the download.
func (c *Cache) know(rawURL string, o origin, p *partial) (driver.Image, error) {
	if err := c.save(urlsDir, key(rawURL), o); err != nil {
		return driver.Image{}, fail("install", rawURL, c.noSpace(err, 0), "")
	}
	p.discard()
	return c.touch(o.ID, rawURL)
}

// admitted is an image that came into the cache.
type admitted struct {
	id   string
	made bool // its file is not what the ID is the hash of: it was converted or padded
}

// bring downloads what d describes, verifies it and makes it an image.
func (c *Cache) bring(ctx context.Context, d Description, p *partial, report func(driver.Progress)) (admitted, error) {
	if err := c.download(ctx, d, p, report); err != nil {
		p.discardAfter(err)
		return admitted{}, err
	}
	report(driver.Progress{Stage: "verifying", Done: p.size, Total: p.size})
	if err := p.verify(d); err != nil {
		p.discard()
		return admitted{}, fail("verify", d.URL, err, "")
	}
	got, err := c.admit(ctx, d, p, report)
	if err != nil {
		p.discardAfter(err)
	}
	return got, fail("install", d.URL, c.noSpace(err, 0), "")
}

// admit turns a verified download into an image of the cache.
func (c *Cache) admit(ctx context.Context, d Description, p *partial, report func(driver.Progress)) (got admitted, err error) {
	work, err := os.MkdirTemp(filepath.Join(c.dir, tmpDir), "image-")
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(work)
	path := p.path
	got.id = p.sums()["sha256"]
	unpacked := filepath.Join(work, "unpacked")
	switch sum, packed, err := c.unpack(ctx, p, unpacked, report); {
	case err != nil:
		return got, fail("decompress", d.URL, err, "")
	case packed:
		path, got.id = unpacked, sum
	}
	kind, err := c.inspect(ctx, path)
	if err != nil {
		return got, fail("inspect", d.URL, err, "")
	}
	if kind.convert {
		report(driver.Progress{Stage: "converting"})
		converted := filepath.Join(work, "converted")
		if err := c.convert(ctx, kind.format, path, converted, c.mostData(p.size)); err != nil {
			return got, fail("convert", d.URL, err, "")
		}
		path, got.made = converted, true
		if kind, err = c.inspect(ctx, path); err != nil {
			return got, fail("convert", d.URL, err, "")
		}
	}
	if kind.pad > 0 {
		got.made = true
		if err := os.Truncate(path, kind.size+kind.pad); err != nil {
			return got, err
		}
	}
	if path == p.path {
		// On Windows an open file cannot be renamed, and nothing more is written.
		p.close()
	}
	return got, c.install(path, got.id, kind.ext())
}

// throttle lets changes of stage through and otherwise a few reports a second.
func (c *Cache) throttle(report func(driver.Progress)) func(driver.Progress) {
	if report == nil {
		return func(driver.Progress) {}
	}
	var mu sync.Mutex
	var last driver.Progress
	var at time.Time
	return func(p driver.Progress) {
		mu.Lock()
		now := c.config.Now()
		end := p.Total > 0 && p.Done == p.Total
		pass := p != last && (end || p.Stage != last.Stage || now.Sub(at) >= 250*time.Millisecond)
		if pass {
			last, at = p, now
		}
		mu.Unlock()
		if pass {
			report(p)
		}
	}
}
