package sf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Merged says what became of a namespace of another cloud.
type Merged struct {
	Created bool     // it was not there
	Added   []string // keys and metadata that were missing: "key deploy", "metadata owner"
	Differ  []string // those that are something else here, and stay so
}

// ImportNamespace creates a namespace of another cloud with its keys, of which the
// bcrypt hashes are known, and its metadata. To one that is there it adds what is
// missing and changes nothing else. ErrInvalid for names that cannot be, for what is
// no hash, and for too much metadata.
func (c *Cloud) ImportNamespace(ctx context.Context, name string, keys map[string][]byte, metadata Metadata) (*Merged, error) {
	if !spec.ValidLabel(name) {
		return nil, spec.Errorf(ErrInvalid, "namespace name %q: only letters, digits and -_.@+ can be in it, at most 128", name).About("namespace", name)
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if err := importable(name, key, keys[key]); err != nil {
			return nil, err
		}
	}
	var merged *Merged
	err := record.Retry(ctx, func() error {
		merged = &Merged{}
		t := c.records.Begin()
		if err := c.mergeKeys(ctx, t, name, keys, merged); err != nil {
			return err
		}
		if err := c.mergeMetadata(ctx, t, name, metadata, merged); err != nil {
			return err
		}
		if !merged.Created && len(merged.Added) == 0 {
			return nil
		}
		_, err := c.records.Commit(ctx, t)
		return err
	})
	if err != nil {
		return nil, storeError(err)
	}
	return merged, nil
}

// mergeKeys adds to t a namespace with keys, or those keys that it lacks.
func (c *Cloud) mergeKeys(ctx context.Context, t *record.Txn, name string, keys map[string][]byte, merged *Merged) error {
	now := c.cfg.Clock.Now()
	o, err := record.Get[spec.Namespace](ctx, c.records, record.NamespaceKey(name))
	if merged.Created = errors.Is(err, store.ErrNotFound); merged.Created {
		o.Value, err = spec.Namespace{Name: name, Created: now}, nil
	}
	if err != nil {
		return err
	}
	ns := o.Value
	ns.Keys = slices.Clone(ns.Keys)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		k := slices.IndexFunc(o.Value.Keys, func(k spec.Key) bool { return k.Name == key })
		switch {
		case k < 0:
			ns.Keys = append(ns.Keys, spec.Key{Name: key, Hash: keys[key], Nonce: c.newUUID(), Created: now})
			merged.Added = append(merged.Added, "key "+key)
		case !bytes.Equal(o.Value.Keys[k].Hash, keys[key]):
			merged.Differ = append(merged.Differ, "key "+key)
		}
	}
	slices.SortFunc(ns.Keys, func(a, b spec.Key) int { return strings.Compare(a.Name, b.Name) })
	switch {
	case merged.Created:
		t.Create(record.NamespaceKey(name), ns)
	case len(merged.Added) > 0:
		record.Replace(t, o, ns)
	default:
		t.If(store.Exists(o.Key))
	}
	return nil
}

// mergeMetadata adds to t the metadata that a namespace lacks.
func (c *Cloud) mergeMetadata(ctx context.Context, t *record.Txn, name string, metadata Metadata, merged *Merged) error {
	key := record.MetadataKey(KindNamespace, name)
	was, err := record.Get[Metadata](ctx, c.records, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	m, before := plain(was.Value), len(merged.Added)
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		have, ok := m[k]
		switch {
		case !ok:
			m[k] = metadata[k]
			merged.Added = append(merged.Added, "metadata "+k)
		case !sameJSON(have, metadata[k]):
			merged.Differ = append(merged.Differ, "metadata "+k)
		}
	}
	if len(merged.Added) == before {
		return nil
	}
	if err := metadataFits(m); err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	if was.Key == "" {
		t.Create(key, m)
	} else {
		t.If(store.RevisionIs(key, was.Revision)).Put(key, m)
	}
	return nil
}

func sameJSON(a, b any) bool {
	return reflect.DeepEqual(asJSON(a), asJSON(b))
}

// asJSON is a value as it is read back.
func asJSON(v any) (out any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return err
	}
	return out
}

// ImportKey gives a namespace a key of which only the bcrypt hash is known, or changes
// the one of that name. ErrInvalid for what is no hash.
func (c *Cloud) ImportKey(ctx context.Context, namespace, name string, hash []byte) error {
	if err := importable(namespace, name, hash); err != nil {
		return err
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

// importable says what is wrong with a key that comes as a hash.
func importable(namespace, name string, hash []byte) error {
	if name == ServiceKey || !spec.ValidLabel(name) {
		return spec.Errorf(ErrInvalid, "key name %q: only letters, digits and -_.@+ can be in it, at most 128", name).About("namespace", namespace)
	}
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return spec.Errorf(ErrInvalid, "key %s is not a bcrypt hash", name).About("namespace", namespace).Because(err)
	}
	if cost > maxCost {
		return spec.Errorf(ErrInvalid, "key %s is a bcrypt hash of cost %d, at most %d: each try would keep a CPU busy for too long", name, cost, maxCost).About("namespace", namespace)
	}
	return nil
}

// maxCost is the slowest hash that is checked for whoever asks: seconds each.
const maxCost = 16
