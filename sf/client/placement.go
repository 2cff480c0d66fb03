package client

import (
	"context"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

// Placement is where an instance would go now.
type Placement struct {
	Nodes   []string          `json:"nodes"`   // that can take it, the preferred first
	Refused map[string]string `json:"why_not"` // why others cannot, by name
}

// PlaceInstance asks where an instance would go, and creates nothing. The errors are
// CreateInstance's, but for capacity: no node at all is a Placement. A server of 0.2
// refuses it with ErrInvalid.
func (c *Client) PlaceInstance(ctx context.Context, namespace string, s spec.InstanceSpec) (*Placement, error) {
	// In the body, where a server that does not know it says so; in the query it would
	// go unnoticed, and the instance be made.
	args := struct {
		*newInstance
		DryRun bool `json:"dry_run"`
	}{arguments(namespace, &s), true}
	p := new(Placement)
	return p, c.do(ctx, call{method: http.MethodPost, path: instances, args: args, into: p})
}
