package v02

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/sf/spec"
)

// serviceKey is a key that the original's daemons use among themselves.
const serviceKey = "service_key"

func (r *reader) readNamespaces() {
	for _, name := range slices.Sorted(maps.Keys(r.kinds["namespace"])) {
		n, err := r.namespace(name)
		if err != nil {
			r.refuse(spec.KindNamespace, name, "", err.Error())
			continue
		}
		r.namespaces[name] = true
		r.plan.Namespaces = append(r.plan.Namespaces, *n)
	}
}

func (r *reader) namespace(name string) (*Namespace, error) {
	o, err := parse(r.kinds["namespace"][name].Value)
	if err != nil {
		return nil, err
	}
	if is := o.text("name"); len(o.wrong) == 0 && is != name {
		o.bad("its key says %s and its name %s", name, is)
	}
	keys := o.object("keys")
	if err := o.err(); err != nil {
		return nil, err
	}
	if !spec.ValidLabel(name) {
		return nil, fmt.Errorf("its name has more in it than letters, digits and -_.@+, or more than 128 of them")
	}
	n := &Namespace{Name: name, Keys: map[string][]byte{}}
	if n.Metadata, err = r.metadata(spec.KindNamespace, name); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(keys.members)) {
		hash, err := base64.StdEncoding.DecodeString(keys.maybe(key))
		if err == nil {
			_, err = bcrypt.Cost(hash)
		}
		switch {
		case err != nil:
			r.remark(spec.KindNamespace, name, "", fmt.Sprintf("its key %q is left out: it is not a bcrypt hash in base64", key))
		case !spec.ValidLabel(key) || key == serviceKey:
			r.remark(spec.KindNamespace, name, "", fmt.Sprintf("its key %q is left out: no key can have this name here", key))
		default:
			n.Keys[key] = hash
		}
	}
	if o.members[serviceKey] != nil {
		r.remark(spec.KindNamespace, name, "", "its service key is left out: nothing needs it here")
	}
	if o.members["trust"] != nil {
		r.remark(spec.KindNamespace, name, "", "whom it trusts is left out: 0.2 knows no trust, and only system may act in others' namespaces here")
	}
	return n, nil
}

// metadata is an object's free data; nil for none.
func (r *reader) metadata(kind spec.Kind, id string) (spec.Metadata, error) {
	rec, ok := r.kinds["metadata"][string(kind)+"/"+id]
	if !ok {
		return nil, nil
	}
	o, err := parse(rec.Value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its metadata are damaged: they are not one JSON object")
	case len(rec.Value) > spec.MaxMetadata:
		return nil, fmt.Errorf("its metadata have %d bytes, the most is %d", len(rec.Value), spec.MaxMetadata)
	case len(o.members) == 0:
		return nil, nil
	}
	return o.members, nil
}
