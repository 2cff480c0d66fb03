package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// download fills p with the bytes of d, again and again from where it broke, as
// long as that gets it further.
func (c *Cache) download(ctx context.Context, d Description, p *partial, report func(driver.Progress)) error {
	if d.Size > c.config.MaxImage {
		return fail("download", d.URL, fmt.Errorf("%w: %s, the limit here is %s", ErrTooLarge, bytesText(d.Size), bytesText(c.config.MaxImage)), "")
	}
	if err := c.room(d.Size - p.size); err != nil {
		return fail("download", d.URL, err, "free some space or use a smaller image")
	}
	for failures := 0; ; {
		before := p.size
		err := c.stream(ctx, d, p, report)
		if err == nil {
			return fail("download", d.URL, p.finish(), "")
		}
		// Keep what we have, also when we were told to stop.
		if cerr := p.checkpoint(); cerr != nil && ctx.Err() == nil {
			return fail("download", d.URL, c.noSpace(cerr, d.Size-p.size), "")
		}
		if failures++; p.size > before {
			failures = 1
		}
		switch {
		case ctx.Err() != nil:
			return fail("download", d.URL, context.Cause(ctx), "")
		case errors.Is(err, ErrChanged):
			return errors.Join(err, p.restart())
		case errors.Is(err, ErrPermanent), errors.Is(err, driver.ErrNoSpace), failures >= c.config.Attempts:
			return err
		}
		c.config.Log.Info("image download broke, resuming", "image", Redact(d.URL), "at", p.size, "of", d.Size, "err", err)
		if err := c.config.Sleep(ctx, time.Second<<min(failures-1, 5)/2); err != nil {
			return fail("download", d.URL, err, "")
		}
		if !p.note.resumable() {
			if err := p.restart(); err != nil {
				return err
			}
		}
	}
}

// stream appends to p until the image ends or the connection breaks.
func (c *Cache) stream(ctx context.Context, d Description, p *partial, report func(driver.Progress)) error {
	if d.Size >= 0 && p.size == d.Size {
		return nil
	}
	r, err := p.open(ctx, d, p.size)
	if err != nil {
		return fail("download", d.URL, err, "")
	}
	defer r.Close()
	buffer := make([]byte, 256<<10)
	spaceAt := p.size + checkpoint
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			if limit := p.size + int64(n); limit > c.config.MaxImage || d.Size >= 0 && limit > d.Size {
				return fail("download", d.URL, c.overrun(d), "")
			}
			if _, err := p.Write(buffer[:n]); err != nil {
				return fail("download", d.URL, c.noSpace(err, d.Size-p.size), "")
			}
			report(driver.Progress{Stage: "downloading", Done: p.size, Total: max(d.Size, 0)})
			if p.size >= spaceAt {
				spaceAt += checkpoint
				if err := c.room(0); err != nil {
					return fail("download", d.URL, err, "free some space or use a smaller image")
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF) && d.Size >= 0 && p.size < d.Size:
			return fail("download", d.URL, fmt.Errorf("it ended after %d of %d bytes", p.size, d.Size), "")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return transportError("download", d.URL, err)
		}
	}
}

// overrun is the error for more bytes than there should be.
func (c *Cache) overrun(d Description) error {
	if d.Size >= 0 {
		return fmt.Errorf("%w: it has more than the %d bytes announced", ErrChanged, d.Size)
	}
	return fmt.Errorf("%w: more than %s", ErrTooLarge, bytesText(c.config.MaxImage))
}

// finish makes a complete download durable.
func (p *partial) finish() error {
	if p.size == 0 {
		return fmt.Errorf("%w: it is empty", ErrFormat)
	}
	if err := p.checkpoint(); err != nil {
		return err
	}
	return p.file.Sync()
}

// room checks that the file system holds n more bytes and the reserve.
func (c *Cache) room(n int64) error {
	_, free, err := fileSystem(c.dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if n = max(n, 0); free-n < c.config.Reserve {
		return &spaceError{need: n, text: fmt.Sprintf("%s more are needed and %s are kept in reserve, but %s has %s free",
			bytesText(n), bytesText(c.config.Reserve), c.dir, bytesText(free))}
	}
	return nil
}

// spaceError is driver.ErrNoSpace with what would help.
type spaceError struct {
	need int64 // bytes, besides the reserve
	text string
}

func (e *spaceError) Error() string { return driver.ErrNoSpace.Error() + ": " + e.text }
func (e *spaceError) Unwrap() error { return driver.ErrNoSpace }

// noSpace gives a full disk its name and figures; n is what is still missing.
func (c *Cache) noSpace(err error, n int64) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	_, free, _ := fileSystem(c.dir)
	return fmt.Errorf("%w: %s has %s free, %s more are needed: %w", driver.ErrNoSpace, c.dir, bytesText(free), bytesText(max(n, 0)), err)
}

// bytesText writes a number of bytes for people, exactly and legibly.
func bytesText(n int64) string {
	for shift, unit := 40, 0; shift >= 10; shift, unit = shift-10, unit+1 {
		if n >= 1<<shift {
			return fmt.Sprintf("%.1f %ciB", float64(n)/float64(int64(1)<<shift), "TGMK"[unit])
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
