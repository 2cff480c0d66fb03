package api

import (
	"errors"

	"github.com/shakenfist/cloud/sf/spec"
)

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
	if err != nil {
		return nil, err
	}
	return listed(q, out, func(e eventWire) string { return e.ID })
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
