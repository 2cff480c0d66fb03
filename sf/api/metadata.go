package api

import (
	"encoding/json"

	"github.com/shakenfist/cloud/sf/spec"
)

// subject is the object of the path whose metadata or events are asked for.
func (q *request) subject() (spec.Kind, string, error) {
	switch {
	case q.instance != nil:
		return spec.KindInstance, q.instance.UUID, nil
	case q.network != nil:
		return spec.KindNetwork, q.network.UUID, nil
	}
	ns, err := q.namespaceOfPath()
	if err != nil {
		return "", "", err
	}
	return spec.KindNamespace, ns.Name, nil
}

func (q *request) getMetadata() (any, error) {
	kind, id, err := q.subject()
	if err != nil {
		return nil, err
	}
	m, err := q.cloud.Metadata(q.ctx(), kind, id)
	if m == nil {
		m = spec.Metadata{}
	}
	if err == nil {
		err = q.match(versionOf(m))
	}
	return q.tagged(versionOf(m), m, err)
}

func (q *request) postMetadata() (any, error) {
	key := q.args.text("key")
	if q.args.err != nil {
		return nil, q.args.err
	}
	if key == "" {
		return nil, q.args.missing("no key specified")
	}
	return q.setMetadata(key)
}

func (q *request) putMetadata() (any, error) { return q.setMetadata(q.path("key")) }

func (q *request) setMetadata(key string) (any, error) {
	value := q.args.any("value")
	if empty(value) {
		return nil, q.args.missing("no value specified")
	}
	kind, id, err := q.subject()
	if err != nil {
		return nil, err
	}
	return nil, q.cloud.ChangeMetadata(q.lasting(), kind, id, func(m spec.Metadata) error {
		if err := q.match(versionOf(m)); err != nil {
			return err
		}
		m[key] = value
		return nil
	})
}

func (q *request) deleteMetadata() (any, error) {
	kind, id, err := q.subject()
	if err != nil {
		return nil, err
	}
	key := q.path("key")
	return nil, q.cloud.ChangeMetadata(q.lasting(), kind, id, func(m spec.Metadata) error {
		if err := q.match(versionOf(m)); err != nil {
			return err
		}
		if _, ok := m[key]; !ok {
			return notFound("key not found")
		}
		delete(m, key)
		return nil
	})
}

// any returns an argument of any type.
func (a *args) any(name string) (v any) {
	if a.given(name) {
		json.Unmarshal(a.values[name], &v) // it was parsed before
	}
	return v
}

// empty reports whether a value counts as not given, as in the seed: false, 0,
// and what has no elements.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
