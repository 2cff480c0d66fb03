package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// named is what is read of a record to find it by its name.
type named struct {
	UUID      string     `json:"uuid"`
	Name      string     `json:"name"`
	Namespace string     `json:"namespace"`
	State     spec.State `json:"state"`
}

// FindInstance returns the UUID of the instance that a UUID or a name means. A name
// means the one instance of that name in the namespace; where namespace is empty, in
// the client's own, and else the one among all that the client may see. Deleted
// ones count where there is no other. ErrNotFound where there is none, ErrInvalid with
// the candidates where there are several. A UUID is not looked up.
func (c *Client) FindInstance(ctx context.Context, namespace, name string) (string, error) {
	return c.find(ctx, spec.KindInstance, instances, namespace, name)
}

// FindNetwork is FindInstance for networks.
func (c *Client) FindNetwork(ctx context.Context, namespace, name string) (string, error) {
	if name == spec.FloatingNetwork {
		return name, nil
	}
	return c.find(ctx, spec.KindNetwork, networks, namespace, name)
}

// FindInterface returns the UUID of the interface that a UUID means, or INSTANCE/N: the
// one of order N, from 0, of an instance that FindInstance finds.
func (c *Client) FindInterface(ctx context.Context, name string) (string, error) {
	if id, ok := uuid(name); ok {
		return id, nil
	}
	instance, order, ok := strings.Cut(name, "/")
	n, err := strconv.Atoi(order)
	if !ok || err != nil {
		return "", spec.Errorf(spec.ErrInvalid, "an interface is a UUID, or INSTANCE/N for the one of order N of an instance, not %q", name).About("interface", name)
	}
	id, err := c.FindInstance(ctx, "", instance)
	if err != nil {
		return "", err
	}
	nics, err := c.InstanceInterfaces(ctx, id)
	if err != nil {
		return "", err
	}
	for _, nic := range nics {
		if nic.Order == n {
			return nic.UUID, nil
		}
	}
	return "", spec.Errorf(spec.ErrNotFound, "instance %s has no interface of order %d; they count from 0, and it has %d", instance, n, len(nics)).About("interface", name)
}

// FindImage returns the ID of the image in the cache that an ID or one of its names
// means.
func (c *Client) FindImage(ctx context.Context, name string) (string, error) {
	list, err := c.Images(ctx)
	if err != nil {
		return "", err
	}
	for _, i := range list {
		if i.ID == name || slices.Contains(i.Names, name) {
			return i.ID, nil
		}
	}
	return "", spec.Errorf(spec.ErrNotFound, "no image in the cache has the ID or name %q", name).About("image", name)
}

// uuid returns a UUID as the cloud writes it.
func uuid(s string) (string, bool) {
	s = strings.ToLower(s)
	return s, spec.ValidUUID(s)
}

func (c *Client) find(ctx context.Context, kind spec.Kind, path, namespace, name string) (string, error) {
	if id, ok := uuid(name); ok {
		return id, nil
	}
	if name == "" {
		return "", spec.Errorf(spec.ErrInvalid, "the name of the %s is empty: give its UUID or its name", kind).About(string(kind), "")
	}
	var list []named
	fields := url.Values{"fields": {"uuid,name,namespace,state"}} // servers of 0.2 send all
	if err := c.do(ctx, call{method: http.MethodGet, path: path + "?" + fields.Encode(), args: allArg(true), into: &list}); err != nil {
		return "", err
	}
	return pick(kind, list, namespace, c.cfg.Namespace, name)
}

// pick chooses by name: in the given namespace alone, or else in the own before all.
func pick(kind spec.Kind, list []named, namespace, own, name string) (string, error) {
	var near, far, gone []named
	for _, r := range list {
		switch {
		case r.Name != name || namespace != "" && r.Namespace != namespace:
		case r.State == spec.StateDeleted:
			gone = append(gone, r)
		case r.Namespace == own:
			near = append(near, r)
		default:
			far = append(far, r)
		}
	}
	for _, found := range [][]named{near, far, gone} {
		switch len(found) {
		case 0:
		case 1:
			return found[0].UUID, nil
		default:
			return "", ambiguous(kind, name, found)
		}
	}
	return "", spec.Errorf(spec.ErrNotFound, "no %s has the UUID or name %q", kind, name).About(string(kind), name)
}

func ambiguous(kind spec.Kind, name string, found []named) error {
	var candidates []string
	for _, r := range found {
		candidates = append(candidates, strings.TrimSuffix(fmt.Sprintf("%s (namespace %s, %s", r.UUID, r.Namespace, r.State), ", ")+")")
	}
	slices.Sort(candidates)
	return spec.Errorf(spec.ErrInvalid, "%q is the name of %d %ss, so say by UUID which: %s",
		name, len(found), kind, strings.Join(candidates, ", ")).About(string(kind), name)
}
