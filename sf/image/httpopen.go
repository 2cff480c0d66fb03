package image

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Open implements Source. A server that cannot start in the middle is read from
// the beginning and what comes before offset is thrown away.
func (h *HTTP) Open(ctx context.Context, d Description, offset int64) (io.ReadCloser, error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if v := d.rangeValidator(); v != "" {
			header.Set("If-Range", v)
		}
	}
	resp, err := h.get(ctx, "download", d, header)
	if err != nil {
		return nil, err
	}
	if err := h.position(resp, d, offset); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// rangeValidator conditions a range on the bytes being the same: by a strong ETag,
// or by date. With a checksum there is no need, and mirrors that take turns may
// each have an ETag of its own.
func (d Description) rangeValidator() string {
	switch {
	case d.Checksum.Hex != "":
		return ""
	case d.ETag != "" && !strings.HasPrefix(d.ETag, "W/"):
		return d.ETag
	}
	return d.LastModified
}

// position checks that a response is of the bytes described and brings its body
// to offset.
func (h *HTTP) position(resp *http.Response, d Description, offset int64) error {
	start, total := int64(0), resp.ContentLength
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		var err error
		if start, total, err = parseContentRange(resp.Header.Get("Content-Range")); err != nil {
			return fail("download", d.URL, err, "the server is broken")
		}
	case http.StatusRequestedRangeNotSatisfiable, http.StatusPreconditionFailed:
		return fail("download", d.URL, ErrChanged, "")
	default:
		return statusError("download", d.URL, resp)
	}
	etag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	differ := func(a, b string) bool { return d.Checksum.Hex == "" && a != "" && b != "" && a != b }
	if differ(etag, d.ETag) || differ(modified, d.LastModified) || d.Size >= 0 && total >= 0 && total != d.Size {
		return fail("download", d.URL, ErrChanged, "")
	}
	if start > offset || start < offset && resp.StatusCode == http.StatusPartialContent {
		return fail("download", d.URL, fmt.Errorf("asked for bytes from %d, the server sent those from %d", offset, start), "the server is broken")
	}
	if _, err := io.CopyN(io.Discard, resp.Body, offset-start); err != nil {
		return transportError("download", d.URL, err)
	}
	return nil
}

// parseContentRange reads "bytes 5-9/10"; a total of "*" is -1.
func parseContentRange(s string) (start, total int64, err error) {
	var end int64
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/%d", &start, &end, &total); n == 3 && start >= 0 && end >= start && total > end {
		return start, total, nil
	}
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/", &start, &end); n == 2 && strings.HasSuffix(s, "/*") && start >= 0 && end >= start {
		return start, -1, nil
	}
	return 0, 0, fmt.Errorf("it sent an unreadable Content-Range %.80q", s)
}
