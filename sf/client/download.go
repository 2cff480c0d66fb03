package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// downloadAttempts is how often in a row a download may break off without a byte
// in between. With the pauses that is long enough for a server to be restarted.
const downloadAttempts = 10

// OpenSnapshot opens a disk of a snapshot for reading, a qcow2 image, from offset
// (bytes) on. When the connection breaks, reading goes on over a new one. Reads
// end when ctx does. ErrInvalid where offset is beyond the end.
func (c *Client) OpenSnapshot(ctx context.Context, id, device string, offset int64) (*Download, error) {
	d := &Download{offset: offset, client: c, ctx: ctx, path: snapshots + pathOf(id, device)}
	if err := d.reopen(); err != nil {
		return nil, err
	}
	return d, nil
}

// Download is a file of the cloud that is being read. It is for one goroutine.
type Download struct {
	client   *Client
	ctx      context.Context
	path     string
	body     io.ReadCloser // nil while there is no connection
	offset   int64
	size     int64
	failures int // in a row
}

// Size is how many bytes the whole file has.
func (d *Download) Size() int64 { return d.size }

// Read reads on. It ends with io.EOF only when the whole file has been read.
func (d *Download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // else there would be no end of asking for more
	}
	for {
		if d.offset == d.size {
			return 0, io.EOF
		}
		n, err := d.read(p)
		d.offset += int64(n)
		if n > 0 {
			d.failures = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if d.ctx.Err() != nil {
			return 0, d.ctx.Err()
		}
		if class := spec.ClassOf(err); class != nil && class != spec.ErrUnavailable {
			return 0, err
		}
		if d.failures++; d.failures == downloadAttempts {
			return 0, fmt.Errorf("the download broke off at byte %d of %d: %w", d.offset, d.size, err)
		}
		if err := d.client.cfg.Sleep(d.ctx, time.Duration(d.failures)*200*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (d *Download) read(p []byte) (int, error) {
	if d.body == nil {
		if err := d.reopen(); err != nil {
			return 0, err
		}
	}
	n, err := d.body.Read(p[:min(int64(len(p)), d.size-d.offset)])
	if err != nil {
		d.Close()
	}
	return n, err
}

// Close ends the download.
func (d *Download) Close() error {
	if d.body == nil {
		return nil
	}
	err := d.body.Close()
	d.body = nil
	return err
}

func (d *Download) reopen() error {
	w, err := withToken(d.ctx, d.client, d.request)
	if err != nil {
		return err
	}
	first, size := int64(0), w.ContentLength
	if w.StatusCode != http.StatusOK {
		var ok bool
		if first, size, ok = contentRange(w.Header.Get("Content-Range")); !ok {
			first = -1
		}
	}
	switch {
	case w.StatusCode == http.StatusRequestedRangeNotSatisfiable && size >= 0 && d.offset > size:
		w.Body.Close()
		return spec.Errorf(spec.ErrInvalid, "there are %d bytes already, but the file has only %d: it is not the same file", d.offset, size)
	case first != d.offset || size < 0 || d.size > 0 && size != d.size:
		w.Body.Close()
		return spec.Errorf(spec.ErrInvalid, "the server did not send what was asked for: %s, Content-Range %q", w.Status, w.Header.Get("Content-Range"))
	}
	d.body, d.size = w.Body, size
	return nil
}

// request asks for the file from the offset on. The caller closes the body.
func (d *Download) request(token string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.client.cfg.URL+d.path, nil)
	if err != nil {
		return nil, spec.Errorf(spec.ErrInvalid, "GET %s", d.path).Because(err)
	}
	d.client.setHeader(r.Header, token)
	r.Header.Set("Accept-Encoding", "identity") // so that offsets are those of the file
	if d.offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.offset))
	}
	return d.client.open(r, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
}

// contentRange parses "bytes 5-9/10" to 5 and 10, and "bytes */10", which is the
// end, to 10 and 10.
func contentRange(s string) (first, size int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	which, total, found := strings.Cut(s, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if !ok || !found || err != nil || size < 0 {
		return 0, -1, false
	}
	if which == "*" {
		return size, size, true
	}
	from, to, found := strings.Cut(which, "-")
	first, err = strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if !found || err != nil || err2 != nil || first < 0 || last < first || last >= size {
		return 0, -1, false
	}
	return first, size, true
}
