package client

import (
	"context"
	"net/http"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// AtVersion returns a client whose requests to change an instance, a network or
// metadata do so only while that is at a version: Version of the record, or what
// MetadataVersion returned. Else they change nothing, and the error is of class
// ErrConflict (its status is 412). For instances and networks it counts when the
// request is admitted, for metadata at the moment of the change. Where it cannot be
// checked, as for other objects, ErrInvalid. The client is for that object alone.
func (c *Client) AtVersion(version string) *Client {
	careful := *c
	careful.version = version
	return &careful
}

// MetadataVersion is Metadata with its version, for AtVersion.
func (c *Client) MetadataVersion(ctx context.Context, kind spec.Kind, id string) (m spec.Metadata, version string, err error) {
	path, err := metadataPath(kind, id)
	if err != nil {
		return nil, "", err
	}
	m = spec.Metadata{}
	err = c.do(ctx, call{method: http.MethodGet, path: path, into: &m,
		seen: func(h http.Header) { version = strings.Trim(h.Get("ETag"), `"`) }})
	return m, version, err
}

// setVersion says what the object has to be at. Servers of 0.2 would take no notice.
func (c *Client) setVersion(k *call, h http.Header) error {
	if c.version == "" || k.method == http.MethodGet {
		return nil
	}
	if !c.knows.Load() {
		return spec.Errorf(spec.ErrInvalid, "%s %s: %s is a Shaken Fist that checks no versions", k.method, k.path, c.cfg.URL)
	}
	h.Set("If-Match", `"`+c.version+`"`)
	return nil
}
