package sf

import (
	"context"
	"errors"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// CreateNamespace makes a namespace; one that exists already is left as it is.
func (c *Cloud) CreateNamespace(ctx context.Context, name string) error {
	if !spec.ValidLabel(name) {
		return spec.Errorf(ErrInvalid, "namespace name %q: only letters, digits and -_.@+ can be in it, at most 128", name).About("namespace", name)
	}
	t := c.records.Begin().Create(record.NamespaceKey(name), spec.Namespace{Name: name, Created: c.cfg.Clock.Now()})
	_, err := c.records.Commit(ctx, t)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return storeError(err)
}

// Namespace returns one namespace with its keys (their hashes, not the secrets).
func (c *Cloud) Namespace(ctx context.Context, name string) (*Namespace, error) {
	o, err := record.Get[spec.Namespace](ctx, c.records, record.NamespaceKey(name))
	if err != nil {
		return nil, notFound(err, KindNamespace, name)
	}
	return &o.Value, nil
}

// Namespaces returns all namespaces, sorted by name.
func (c *Cloud) Namespaces(ctx context.Context) ([]*Namespace, error) {
	list, _, _, err := record.List[spec.Namespace](ctx, c.records, record.NamespacePrefix, store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	all := make([]*Namespace, len(list))
	for i := range list {
		all[i] = &list[i].Value
	}
	return all, nil
}

// DeleteNamespace deletes a namespace with its keys and metadata, and what is
// left of its deleted objects. ErrInUse while it has instances or networks that
// are not deleted, in error too, or snapshots; ErrForbidden for the system namespace. One that
// does not exist is nil.
func (c *Cloud) DeleteNamespace(ctx context.Context, name string) error {
	if name == System {
		return spec.Errorf(ErrForbidden, "you cannot delete the system namespace").About("namespace", name)
	}
	for _, kind := range []Kind{KindInstance, KindNetwork, KindSnapshot} {
		live, _, _, err := record.List[claims.Empty](ctx, c.records, record.LivePrefix(kind, name), store.Page{Limit: 1})
		if err != nil {
			return storeError(err)
		}
		if len(live) > 0 {
			return spec.Errorf(ErrInUse, "you cannot delete a namespace with %ss", kind).About("namespace", name)
		}
		if err := c.forgetDead(ctx, kind, name); err != nil {
			return storeError(err)
		}
	}
	t := c.records.Begin().Delete(record.NamespaceKey(name), record.MetadataKey(KindNamespace, name))
	t.DeletePrefix(record.IdempotencyPrefix(name))
	for _, kind := range []Kind{KindInstance, KindNetwork, KindSnapshot} {
		t.If(store.PrefixEmpty(record.LivePrefix(kind, name)))
	}
	_, err := c.records.Commit(ctx, t)
	if errors.Is(err, store.ErrConflict) {
		return spec.Errorf(ErrInUse, "something was created in the namespace meanwhile").About("namespace", name)
	}
	return storeError(err)
}

func (c *Cloud) forgetDead(ctx context.Context, kind Kind, namespace string) error {
	dead, _, _, err := record.List[claims.Empty](ctx, c.records, record.DeadPrefix(kind, namespace), store.Page{})
	for _, d := range dead {
		if err := claims.Forget(ctx, c.records, kind, record.Base(d.Key)); err != nil {
			return err
		}
	}
	return err
}

// Metadata returns an object's metadata, empty if it has none. ErrNotFound when
// the object does not exist.
func (c *Cloud) Metadata(ctx context.Context, kind Kind, id string) (Metadata, error) {
	if err := c.exists(ctx, kind, id); err != nil {
		return nil, err
	}
	o, err := record.Get[Metadata](ctx, c.records, record.MetadataKey(kind, id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, storeError(err)
	}
	return plain(o.Value), nil
}

// SetMetadata sets one key of an object's metadata to a value that JSON can carry.
func (c *Cloud) SetMetadata(ctx context.Context, kind Kind, id, key string, value any) error {
	if key == "" {
		return spec.Errorf(ErrInvalid, "no key specified").About(string(kind), id)
	}
	return c.changeMetadata(ctx, kind, id, func(m Metadata) error {
		m[key] = value
		return nil
	})
}

// DeleteMetadata deletes one key of an object's metadata; ErrNotFound when it is
// not there.
func (c *Cloud) DeleteMetadata(ctx context.Context, kind Kind, id, key string) error {
	return c.changeMetadata(ctx, kind, id, func(m Metadata) error {
		if _, ok := m[key]; !ok {
			return spec.Errorf(ErrNotFound, "key not found").About(string(kind), id)
		}
		delete(m, key)
		return nil
	})
}

func (c *Cloud) changeMetadata(ctx context.Context, kind Kind, id string, change func(Metadata) error) error {
	owner, err := ownerKey(kind, id)
	if err != nil {
		return err
	}
	key := record.MetadataKey(kind, id)
	err = record.Retry(ctx, func() error {
		if err := c.exists(ctx, kind, id); err != nil {
			return err
		}
		t := c.records.Begin().If(store.Exists(owner)) // else it would be a successor's of the same name
		was, err := record.Get[Metadata](ctx, c.records, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			t.If(store.Absent(key))
		case err != nil:
			return err
		default:
			t.If(store.RevisionIs(key, was.Revision))
		}
		m := plain(was.Value)
		if err := change(m); err != nil {
			return err
		}
		if err := metadataFits(m); err != nil {
			return err
		}
		_, err = c.records.Commit(ctx, t.Put(key, m))
		return err
	})
	return storeError(err)
}

// plain is a copy of a metadata record without the record layer's own marks.
func plain(m Metadata) Metadata {
	out := Metadata{}
	for k, v := range m {
		if k != "~commit" && k != "~born" {
			out[k] = v
		}
	}
	return out
}

// ownerKey is the key of the record that metadata is about.
func ownerKey(kind Kind, id string) (string, error) {
	switch kind {
	case KindNamespace:
		return record.NamespaceKey(id), nil
	case KindNetwork:
		return record.NetworkKey(id), nil
	case KindInstance:
		return record.InstanceKey(id), nil
	}
	return "", spec.Errorf(ErrInvalid, "a %s has no metadata", kind)
}

// exists reports ErrNotFound for an object that does not exist.
func (c *Cloud) exists(ctx context.Context, kind Kind, id string) error {
	key, err := ownerKey(kind, id)
	if err != nil {
		return err
	}
	_, err = c.store.Get(ctx, key)
	return notFound(err, kind, id)
}
