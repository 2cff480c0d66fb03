package api

import (
	"errors"

	"github.com/shakenfist/cloud/sf/spec"
)

// getInterface shows an interface to whoever owns it. One that is gone is still
// shown until it is forgotten, as in the seed.
func (q *request) getInterface() (any, error) {
	nic, err := q.cloud.Interface(q.ctx(), q.http.PathValue("interface_uuid"))
	if errors.Is(err, spec.ErrNotFound) || err == nil && !q.owns(nic.Namespace) {
		return nil, errInterfaceNotFound
	}
	if err != nil {
		return nil, err
	}
	return wireInterface(nic), nil
}

func (q *request) listNodes() (any, error) {
	nodes, err := q.cloud.Nodes(q.ctx())
	out := make([]nodeWire, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, wireNode(n))
	}
	return out, err
}

// events shows what happened to the instance or network of the path.
func (q *request) events() (any, error) {
	kind, id, err := q.subject()
	if err != nil {
		return nil, err
	}
	list, err := q.cloud.Events(q.ctx(), kind, id)
	out := make([]eventWire, 0, len(list))
	for _, e := range list {
		out = append(out, wireEvent(e))
	}
	return out, err
}

// encodedRecord is an instance as JSON.
type encodedRecord struct {
	version string
	json    raw
}

// encodeInstance returns an instance as JSON, from memory where it has not
// changed since it was last asked for.
func (q *request) encodeInstance(i *spec.Instance) (raw, error) {
	if e, ok := q.encoded.get(i.UUID); ok && i.Version != "" && e.version == i.Version {
		return e.json, nil
	}
	var userData []byte
	if i.UserDataSize > 0 {
		var err error
		userData, err = q.cloud.UserData(q.ctx(), i.UUID)
		if err != nil && !errors.Is(err, spec.ErrNotFound) {
			return nil, err
		}
	}
	b, err := encode(wireInstance(i, userData))
	if err == nil {
		q.encoded.put(i.UUID, encodedRecord{i.Version, b})
	}
	return b, err
}
