package client

import (
	"context"
	"net/http"
)

// Healthy asks whether the server can answer calls, which needs no credentials to be
// right; ErrUnavailable where it cannot, for example because its store is away.
func (c *Client) Healthy(ctx context.Context) error {
	_, err := c.send(ctx, &call{method: http.MethodGet, path: "/healthz"}, nil, "")
	return err
}

// Metrics returns what the server counts, in Prometheus' text format. Only system may.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	var text []byte
	err := c.get(ctx, "/metrics", &text)
	return string(text), err
}
