package client

import (
	"context"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

const nodes = "/nodes"

// Nodes returns the nodes of the cloud. Only system may ask.
func (c *Client) Nodes(ctx context.Context) ([]*spec.Node, error) {
	var list []nodeRecord
	err := c.get(ctx, nodes, &list)
	return each(list, (*nodeRecord).node), err
}

// Node returns one node by its name. Only system may ask.
func (c *Client) Node(ctx context.Context, name string) (*spec.Node, error) {
	list, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, spec.Errorf(spec.ErrNotFound, "node not found: no node is named %q", name).About(string(spec.KindNode), name)
}

// CordonNode makes a node take nothing new; what runs there runs on. Doing it twice
// is nil; ErrNotFound for a node that is not there. Only system may.
func (c *Client) CordonNode(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodPost, path: nodes + pathOf(name, "cordon")})
}

// UncordonNode lets a node take new things again. Only system may.
func (c *Client) UncordonNode(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodPost, path: nodes + pathOf(name, "uncordon")})
}
