package client

import (
	"context"
	"net/http"
	"time"

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

// DrainOptions say how far a node is to be emptied.
type DrainOptions struct {
	// Recover starts the node's instances again on other nodes, from their images:
	// what is on their disks is lost.
	Recover bool
	// Ask is how long each guest is asked to shut itself down before its plug is
	// pulled, in whole seconds up to an hour; 0 is a minute, negative asks nobody.
	Ask time.Duration
}

// Drained is what became of a node's part in the cloud.
type Drained struct {
	Routers   []string          `json:"routers"`   // networks that other nodes route now
	Recovered []string          `json:"recovered"` // instances that other nodes run now
	Remains   map[string]string `json:"remains"`   // what is still there, by UUID, and why
}

// DrainNode cordons a node, gives the routers that it has to other nodes and, where
// that is asked for, its instances too. When ctx ends it stops where it is; it can be
// repeated. Only system may.
func (c *Client) DrainNode(ctx context.Context, name string, opt DrainOptions) (*Drained, error) {
	args := map[string]any{"recover": opt.Recover}
	if opt.Ask != 0 {
		args["ask"] = int64(max(opt.Ask, 0) / time.Second)
	}
	d := new(Drained)
	return d, c.do(ctx, call{method: http.MethodPost, path: nodes + pathOf(name, "drain"), args: args, into: d})
}

// RemoveNode removes a node that is gone for good. ErrConflict while it is there,
// ErrInUse while instances are on it. Only system may.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: nodes + pathOf(name)})
}

// RecoverInstance starts an instance whose node is gone again on another, from its
// images; what was on its disks is lost. See WaitInstance. Nothing may run twice:
// fenced is the caller's word that the node is off. ErrConflict where that is needed,
// or the node is there; ErrNoCapacity where no other can take it. Only system may.
func (c *Client) RecoverInstance(ctx context.Context, id string, fenced bool) (*spec.Instance, error) {
	var r instanceRecord
	err := c.do(ctx, call{method: http.MethodPost, path: c.path(instances + pathOf(id, "recover")), args: map[string]bool{"fenced": fenced}, into: &r})
	return r.instance(), err
}
