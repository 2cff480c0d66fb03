package client

import (
	"context"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

const namespaces = "/auth/namespaces"

// Namespaces returns the names of all namespaces. Only system may ask.
func (c *Client) Namespaces(ctx context.Context) (names []string, err error) {
	err = c.get(ctx, namespaces, &names)
	return names, err
}

// CreateNamespace makes a namespace; one that exists already is left as it is.
// Only system may.
func (c *Client) CreateNamespace(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodPost, path: namespaces, args: map[string]string{"namespace": name}})
}

// DeleteNamespace deletes a namespace; ErrInUse while it has instances or
// networks. One that does not exist is nil. Only system may.
func (c *Client) DeleteNamespace(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: namespaces + pathOf(name)})
}

// Keys returns the names of a namespace's keys. Only system may ask.
func (c *Client) Keys(ctx context.Context, namespace string) (names []string, err error) {
	err = c.get(ctx, namespaces+pathOf(namespace, "keys"), &names)
	return names, err
}

// SetKey gives a namespace a key, or changes the one of that name. Only system may.
func (c *Client) SetKey(ctx context.Context, namespace, name, secret string) error {
	return c.do(ctx, call{method: http.MethodPost, path: namespaces + pathOf(namespace, "keys"),
		args: map[string]string{"key_name": name, "key": secret}})
}

// ReplaceKey changes a namespace's key, which kills the tokens that were got with the old
// one; ErrNotFound when it has none of that name. Only system may.
func (c *Client) ReplaceKey(ctx context.Context, namespace, name, secret string) error {
	return c.do(ctx, call{method: http.MethodPut, path: namespaces + pathOf(namespace, "keys", name), args: map[string]string{"key": secret}})
}

// DeleteKey deletes a namespace's key; ErrNotFound when it has none of that name.
// Only system may.
func (c *Client) DeleteKey(ctx context.Context, namespace, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: namespaces + pathOf(namespace, "keys", name)})
}

// metadataPath is the URL of an object's metadata.
func metadataPath(kind spec.Kind, id string) (string, error) {
	switch kind {
	case spec.KindNamespace:
		return namespaces + pathOf(id, "metadata"), nil
	case spec.KindNetwork, spec.KindInstance:
		return "/" + string(kind) + "s" + pathOf(id, "metadata"), nil
	}
	return "", spec.Errorf(spec.ErrInvalid, "a %s has no metadata", kind)
}

// Metadata returns an object's metadata, empty if it has none.
func (c *Client) Metadata(ctx context.Context, kind spec.Kind, id string) (spec.Metadata, error) {
	path, err := metadataPath(kind, id)
	if err != nil {
		return nil, err
	}
	m := spec.Metadata{}
	return m, c.get(ctx, path, &m)
}

// SetMetadata sets one key of an object's metadata. The server refuses values
// that are empty, false or 0.
func (c *Client) SetMetadata(ctx context.Context, kind spec.Kind, id, key string, value any) error {
	path, err := metadataPath(kind, id)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodPut, path: path + pathOf(key), args: map[string]any{"value": value}})
}

// DeleteMetadata deletes one key of an object's metadata; ErrNotFound when it is
// not there.
func (c *Client) DeleteMetadata(ctx context.Context, kind spec.Kind, id, key string) error {
	path, err := metadataPath(kind, id)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path + pathOf(key)})
}

// Events returns what happened to an instance or a network, oldest first.
func (c *Client) Events(ctx context.Context, kind spec.Kind, id string) ([]*spec.Event, error) {
	var list []eventRecord
	err := c.get(ctx, "/"+string(kind)+"s"+pathOf(id, "events"), &list)
	return each(list, (*eventRecord).event), err
}
