package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

const (
	images = "/images"

	typeLines = "application/x-ndjson"
)

// Progress of a download that the cloud makes, in bytes.
type Progress struct {
	Stage string `json:"stage"` // what is being done
	Done  int64  `json:"done"`
	Total int64  `json:"total"` // 0 where it is not known
}

// CacheImage fetches an image into the cache of the node that the client talks to:
// a URL or a shorthand. It returns when the image is there, and tells report
// (which may be nil) of progress until then. Only system may. ErrInvalid for one
// that cannot be used, ErrUnavailable for an origin that cannot be reached.
func (c *Client) CacheImage(ctx context.Context, name string, report func(Progress)) error {
	args := map[string]string{"url": name}
	if report == nil {
		return c.do(ctx, call{method: http.MethodPost, path: images, args: args})
	}
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	k := call{method: http.MethodPost, path: images}
	w, err := withToken(ctx, c, func(token string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, k.method, c.cfg.URL+k.path, bytes.NewReader(body))
		if err != nil {
			return nil, spec.Errorf(spec.ErrInvalid, "POST %s", images).Because(err)
		}
		c.setHeader(r.Header, token)
		if err := c.setVersion(&k, r.Header); err != nil {
			return nil, err
		}
		r.Header.Set("Accept", typeLines)
		return c.open(r, http.StatusOK)
	})
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if !strings.HasPrefix(w.Header.Get("Content-Type"), typeLines) {
		return nil // a server of 0.2: it is there
	}
	err = progress(w.Body, report)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// progress reads lines up to the one that tells how it ended.
func progress(from io.Reader, report func(Progress)) error {
	lines := json.NewDecoder(from)
	for {
		var line json.RawMessage
		if err := lines.Decode(&line); err != nil {
			return spec.Errorf(spec.ErrUnavailable, "the answer broke off; the download goes on").Because(err)
		}
		var end struct{ Status int }
		if err := json.Unmarshal(line, &end); err != nil {
			return fmt.Errorf("POST %s: the answer is not what was expected: %w", images, err)
		}
		switch end.Status {
		case 0:
			var p Progress
			if err := json.Unmarshal(line, &p); err != nil {
				return fmt.Errorf("POST %s: the answer is not what was expected: %w", images, err)
			}
			report(p)
		case http.StatusOK:
			return nil
		default:
			return newError(end.Status, line)
		}
	}
}

// Images returns what the node that the client talks to has in its image cache,
// the most recently used first. Only system may.
func (c *Client) Images(ctx context.Context) ([]*spec.CachedImage, error) {
	var list []imageRecord
	err := c.get(ctx, images, &list)
	return each(list, (*imageRecord).image), err
}

// Image returns one image of the cache by its ID.
func (c *Client) Image(ctx context.Context, id string) (*spec.CachedImage, error) {
	var r imageRecord
	err := c.get(ctx, images+pathOf(id), &r)
	return r.image(), err
}

// DeleteImage removes an image from the cache by its ID; ErrInUse while a disk is
// laid over it. Only system may.
func (c *Client) DeleteImage(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: images + pathOf(id)})
}
