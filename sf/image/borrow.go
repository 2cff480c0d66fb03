package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// neighbourIdle is how long a neighbour may be silent: it has nothing to look up.
const neighbourIdle = 10 * time.Second

// borrow gets an image from a neighbour's cache, if one has what d describes. What
// the origin says at this moment has decided what that is; what the bytes are their
// hash proves. Whatever fails, the origin is there to be asked.
func (c *Cache) borrow(ctx context.Context, d Description, report func(driver.Progress)) (driver.Image, bool) {
	o, hosts := c.ask(ctx, d.Ref.Near, "url/"+key(d.URL), func(o offer) bool { return o.Origin.provides(d) })
	if hosts == nil {
		return driver.Image{}, false
	}
	o.Origin.Trusted = d.Ref.Trusted // who asks has reached the origin by itself
	return c.copyOver(ctx, d.URL, key(d.URL), o, hosts, d.Ref, report)
}

// borrowStale gets what a neighbour has had for a reference whose origin does not
// answer.
func (c *Cache) borrowStale(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, bool) {
	o, hosts := c.ask(ctx, ref.Near, "name/"+key(ref.Name), func(o offer) bool { return o.Origin.servesStale(ref, o.Name) })
	if hosts == nil || !isHash(o.Name.URLKey) {
		return driver.Image{}, false
	}
	image, ok := c.copyOver(ctx, o.Origin.URL, o.Name.URLKey, o, hosts, ref, report)
	return image, ok && c.save(namesDir, key(ref.Name), o.Name) == nil
}

// ask asks one host after the other for an offer that will do. The hosts that it
// returns are the one that made it and those that were not asked.
func (c *Cache) ask(ctx context.Context, hosts []string, path string, good func(offer) bool) (offer, []string) {
	if c.config.Neighbour == nil {
		return offer{}, nil
	}
	for k, host := range hosts {
		var o offer
		body, err := c.from(ctx, host, path, 0)
		if err == nil {
			err = json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&o)
			body.Close()
		}
		switch {
		case ctx.Err() != nil:
			return offer{}, nil
		case err != nil:
			c.config.Log.Debug("a neighbour has no image for us", "host", host, "err", err)
		case isHash(o.Origin.ID) && o.Size > 0 && good(o):
			return o, hosts[k:]
		}
	}
	return offer{}, nil
}

// copyOver copies an image from the first of the hosts that gives it. Callers for
// the same image share one copy.
func (c *Cache) copyOver(ctx context.Context, name, urlKey string, o offer, hosts []string, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, bool) {
	d := Description{Ref: ref, URL: "neighbour:" + o.Origin.ID, Size: o.Size, Checksum: Checksum{"sha256", o.Origin.ID, "its name"}}
	image, err := c.flights.do(ctx, d.URL, report, func(report func(driver.Progress)) (driver.Image, error) {
		if image, err := c.touch(o.Origin.ID, name); err == nil { // by another name
			return image, nil
		}
		p, err := c.openPartial(ctx, d, report)
		if err != nil {
			return driver.Image{}, err
		}
		defer p.close()
		n := &neighbours{cache: c, hosts: hosts}
		p.open, p.holes = n.open, true
		if _, err := c.bring(ctx, d, p, report); err != nil {
			if ctx.Err() == nil { // the origin comes next
				p.discard()
			}
			return driver.Image{}, err
		}
		p.discard()
		c.config.Log.Info("image copied from a neighbour", "image", Redact(name), "host", n.hosts[0], "id", o.Origin.ID, "bytes", p.size)
		return c.touch(o.Origin.ID, name)
	})
	if err == nil {
		err = c.save(urlsDir, urlKey, o.Origin)
	}
	if err != nil && ctx.Err() == nil {
		c.config.Log.Info("image not got from a neighbour", "image", Redact(name), "err", err)
	}
	return image, err == nil
}

// neighbours are hosts that are said to have an image. One that fails to send it
// is not asked again; one that breaks off is, from where it broke.
type neighbours struct {
	cache *Cache
	hosts []string
}

// open is an opener.
func (n *neighbours) open(ctx context.Context, d Description, offset int64) (io.ReadCloser, error) {
	err := errors.New("no neighbour has it any more")
	for ; len(n.hosts) > 0; n.hosts = n.hosts[1:] {
		var body io.ReadCloser
		body, err = n.cache.from(ctx, n.hosts[0], "id/"+d.Checksum.Hex, offset)
		if err == nil || ctx.Err() != nil {
			return body, err
		}
	}
	return nil, permanent("download", d.URL, err, "")
}

// from asks a host's cache for something, of which it sends what follows offset.
func (c *Cache) from(ctx context.Context, host, path string, offset int64) (io.ReadCloser, error) {
	base, via, err := c.config.Neighbour(host)
	if err != nil {
		return nil, err
	}
	ctx, watch := newWatchdog(ctx, neighbourIdle)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(LendingPath, path).String(), nil)
	if err != nil {
		watch.stop()
		return nil, err
	}
	want := http.StatusOK
	if offset > 0 {
		want = http.StatusPartialContent
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := via.RoundTrip(r)
	if err != nil {
		err = watch.explain(err)
		watch.stop()
		return nil, fmt.Errorf("host %s: %w", host, err)
	}
	watch.timer.Stop()
	body := &watchedBody{ReadCloser: resp.Body, watch: watch}
	if resp.StatusCode != want {
		body.Close()
		return nil, fmt.Errorf("host %s: %s", host, resp.Status)
	}
	return body, nil
}
