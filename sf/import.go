package sf

import (
	"context"
	"errors"
	"net/netip"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/place"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Kept is what an object that comes from another cloud keeps.
type Kept struct {
	UUID string
	// Node is where it is put, and need not be there yet: how much room it has is
	// checked where that is known. Empty has one chosen of those that run.
	Node string

	// Of a network:
	VNI      uint32     // 0 draws one
	Gateway  netip.Addr // its address in the floating network, where NAT; not valid picks one
	Metadata Metadata   // an instance's is in its spec

	// Of an instance:
	Interfaces []KeptInterface // in order
	Power      PowerState      // that is wanted of it; empty is off
	// Brought are the disks, by index, whose content is on Node already.
	Brought []int
}

// KeptInterface is what an interface keeps besides its MAC and address, which are in
// its spec.
type KeptInterface struct {
	UUID     string
	Floating netip.Addr // its floating address; not valid for none
}

func (k *Kept) validate() error {
	ids := []string{k.UUID}
	for _, n := range k.Interfaces {
		ids = append(ids, n.UUID)
	}
	for _, id := range ids {
		if !spec.ValidUUID(id) {
			return spec.Errorf(ErrInvalid, "%q is not a UUID", id)
		}
	}
	if k.VNI > networkVNIs {
		return spec.Errorf(ErrInvalid, "%d is not a VNI: those of networks end at %d", k.VNI, networkVNIs)
	}
	return metadataFits(k.Metadata)
}

// ImportNetwork creates a network of another cloud under its own UUID. One that is
// there already is returned as it is. The errors are CreateNetwork's.
func (c *Cloud) ImportNetwork(ctx context.Context, namespace string, want NetworkSpec, kept Kept) (*Network, error) {
	if err := kept.validate(); err != nil {
		return nil, err
	}
	return c.createNetwork(ctx, namespace, want, kept)
}

// ImportInstance creates an instance of another cloud under its own UUID and those of
// its interfaces, with its floating addresses. Disks that were not brought along are
// made anew, and it stays off until it is switched on, unless kept says otherwise. One
// that is there already is returned as it is. The errors are CreateInstance's.
func (c *Cloud) ImportInstance(ctx context.Context, namespace string, want InstanceSpec, kept Kept) (*Instance, error) {
	if err := kept.validate(); err != nil {
		return nil, err
	}
	if err := c.unclaimed(ctx, kept); err != nil {
		return nil, err
	}
	return c.createInstance(ctx, namespace, want, kept)
}

// unclaimed makes sure that no interface of another instance has a UUID to keep.
func (c *Cloud) unclaimed(ctx context.Context, kept Kept) error {
	for _, k := range kept.Interfaces {
		nic, err := c.Interface(ctx, k.UUID)
		if spec.ClassOf(err) == ErrNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if nic.Instance != kept.UUID {
			return spec.Errorf(ErrConflict, "interface %s is instance %s's here", k.UUID, nic.Instance).About("interface", k.UUID)
		}
	}
	return nil
}

// placeKept is placeInstance for an instance that is put on a node, there or not.
func (c *Cloud) placeKept(ctx context.Context, i *Instance, name string) (string, record.Object[spec.Capacity], error) {
	used, err := record.Get[spec.Capacity](ctx, c.records, record.NodeUsedKey(name))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", used, err
	}
	n, err := record.Get[spec.Node](ctx, c.records, record.NodeKey(name))
	if errors.Is(err, store.ErrNotFound) {
		return name, used, nil
	}
	if err != nil {
		return "", used, err
	}
	seen := place.Node{Name: name, Live: true, Lacks: lacks(&n.Value, i), Limits: n.Value.Limits, Used: used.Value}
	if _, refused := place.Choose([]place.Node{seen}, place.Request{Need: i.Claim()}, c.intn); len(refused) > 0 {
		return "", used, spec.Errorf(ErrNoCapacity, "insufficient capacity: %s", place.Explain(place.Request{}, refused))
	}
	return name, used, nil
}

// vniFree makes sure that no network has a VNI to keep.
func (c *Cloud) vniFree(ctx context.Context, vni uint32) error {
	if vni == 0 {
		return nil
	}
	o, err := record.Get[claims.Owned](ctx, c.records, record.VNIKey(vni))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return spec.Errorf(ErrConflict, "VNI %d is network %s's here", vni, o.Value.Owner).About("network", o.Value.Owner)
}

// importedInstance is the instance that has the UUID to keep already; nil for none.
func (c *Cloud) importedInstance(ctx context.Context, kept Kept) (*Instance, error) {
	if kept.UUID == "" {
		return nil, nil
	}
	i, err := c.Instance(ctx, kept.UUID)
	if spec.ClassOf(err) == ErrNotFound {
		return nil, nil
	}
	return i, err
}

// importedNetwork is importedInstance for networks.
func (c *Cloud) importedNetwork(ctx context.Context, kept Kept) (*Network, error) {
	if kept.UUID == "" {
		return nil, nil
	}
	n, err := c.Network(ctx, kept.UUID)
	if spec.ClassOf(err) == ErrNotFound {
		return nil, nil
	}
	return n, err
}
