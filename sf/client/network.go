package client

import (
	"context"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

const networks = "/networks"

// allArg is the argument of lists.
func allArg(all bool) any {
	if !all {
		return nil
	}
	return map[string]bool{"all": true}
}

// CreateNetwork records a network; see WaitNetwork. An empty namespace is the
// client's own; others are system's to use.
func (c *Client) CreateNetwork(ctx context.Context, namespace string, s spec.NetworkSpec) (*spec.Network, error) {
	once, err := c.onceKey(s.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	args := struct {
		Name      string `json:"name"`
		Netblock  string `json:"netblock"`
		DHCP      bool   `json:"provide_dhcp"`
		NAT       bool   `json:"provide_nat"`
		Namespace string `json:"namespace,omitempty"`
	}{s.Name, s.Netblock, s.DHCP, s.NAT, namespace}
	var r networkRecord
	err = c.do(ctx, call{method: http.MethodPost, path: c.path(networks), args: args, once: once, into: &r})
	return r.network(), err
}

// Network returns one network, a deleted one too while its record is kept.
func (c *Client) Network(ctx context.Context, id string) (*spec.Network, error) {
	return c.networkSince(ctx, id, "")
}

// networkSince is instanceSince for networks.
func (c *Client) networkSince(ctx context.Context, id, known string) (*spec.Network, error) {
	var r networkRecord
	err := c.get(ctx, networks+pathOf(id)+since(known), &r)
	return r.network(), err
}

// Networks lists the networks that the client may see; with all, those that are
// deleted or in error too.
func (c *Client) Networks(ctx context.Context, all bool) ([]*spec.Network, error) {
	var list []networkRecord
	err := c.do(ctx, call{method: http.MethodGet, path: networks, args: allArg(all), into: &list})
	return each(list, (*networkRecord).network), err
}

// DeleteNetwork asks for a network to be deleted; see WaitNetwork. ErrInUse while
// an interface is on it.
func (c *Client) DeleteNetwork(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: c.path(networks + pathOf(id))})
}

// DeleteNetworks deletes every network of a namespace and waits until they are
// gone. It returns their UUIDs. ErrInUse, and nothing deleted, while one of them
// is in use. Of the namespace, see DeleteInstances.
func (c *Client) DeleteNetworks(ctx context.Context, namespace string) ([]string, error) {
	return c.deleteAll(ctx, networks, namespace)
}

// deleteAll leaves an empty namespace to the server: to it "system" is everything in the
// cloud, which nobody asks for by saying nothing.
func (c *Client) deleteAll(ctx context.Context, path, namespace string) (ids []string, err error) {
	err = c.do(ctx, call{method: http.MethodDelete, path: path, into: &ids,
		args: map[string]any{"confirm": true, "namespace": orNull(namespace)}})
	return ids, err
}

// NetworkInterfaces returns the interfaces on a network.
func (c *Client) NetworkInterfaces(ctx context.Context, id string) ([]*spec.Interface, error) {
	var list []interfaceRecord
	err := c.get(ctx, networks+pathOf(id, "interfaces"), &list)
	return each(list, (*interfaceRecord).nic), err
}

// Interface returns one interface.
func (c *Client) Interface(ctx context.Context, id string) (*spec.Interface, error) {
	var r interfaceRecord
	err := c.get(ctx, pathOf("interfaces", id), &r)
	return r.nic(), err
}

// Float gives an interface an address of the floating network, see its Floating.
// ErrConflict where it has one, ErrInvalid where its network has no NAT,
// ErrNoCapacity where the floating network is full.
func (c *Client) Float(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodPost, path: pathOf("interfaces", id, "float")})
}

// Defloat takes an interface's floating address back. ErrConflict where it has none.
func (c *Client) Defloat(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodPost, path: pathOf("interfaces", id, "defloat")})
}
