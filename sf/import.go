package sf

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// Kept is what an object that comes from another cloud keeps.
type Kept struct {
	UUID       string
	Interfaces []KeptInterface // of an instance, in order
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
	return nil
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
// its interfaces, with its floating addresses. Its disks are made anew, and it stays
// off until it is switched on. One that is there already is returned as it is. The
// errors are CreateInstance's.
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

// ImportKey gives a namespace a key of which only the bcrypt hash is known, or changes
// the one of that name. ErrInvalid for what is no hash.
func (c *Cloud) ImportKey(ctx context.Context, namespace, name string, hash []byte) error {
	if name == ServiceKey || !spec.ValidLabel(name) {
		return spec.Errorf(ErrInvalid, "key name %q: only letters, digits and -_.@+ can be in it, at most 128", name).About("namespace", namespace)
	}
	if _, err := bcrypt.Cost(hash); err != nil {
		return spec.Errorf(ErrInvalid, "key %s is not a bcrypt hash", name).About("namespace", namespace).Because(err)
	}
	key := spec.Key{Name: name, Hash: hash, Nonce: c.newUUID(), Created: c.cfg.Clock.Now()}
	_, err := record.Update(ctx, c.records, record.NamespaceKey(namespace), func(n *spec.Namespace, _ *record.Txn) error {
		n.Keys = slices.DeleteFunc(n.Keys, func(k spec.Key) bool { return k.Name == name })
		n.Keys = append(n.Keys, key)
		slices.SortFunc(n.Keys, func(a, b spec.Key) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return notFound(err, KindNamespace, namespace)
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
