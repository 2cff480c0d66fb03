package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
)

// Members that the codec adds to every record.
const (
	memberCommit = "~commit" // ID of the transaction that wrote the record last
	memberBorn   = "~born"   // ID of the transaction that created it
)

// marks are the transaction IDs that a stored record carries.
type marks struct {
	Commit string `json:"~commit"`
	Born   string `json:"~born"`
}

// encode returns value as JSON with the marks of transaction id. Members of old,
// the record's former text, that value's type does not know are kept, in nested
// objects too, so that an older version of the software never drops what a newer
// one wrote.
func encode(value any, old []byte, id string) ([]byte, error) {
	fresh, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("record: encode %T: %w", value, err)
	}
	born := id
	if len(old) > 0 {
		var m marks
		if err := json.Unmarshal(old, &m); err != nil {
			return nil, fmt.Errorf("record: stored text of %T: %w", value, err)
		}
		born = m.Born
		if hasUnknown(old, reflect.TypeOf(value)) {
			if fresh, err = merge(old, fresh, reflect.TypeOf(value)); err != nil {
				return nil, err
			}
		}
	}
	return stamp(fresh, id, born), nil
}

// stamp prefixes an object's members with the marks.
func stamp(object []byte, id, born string) []byte {
	var b bytes.Buffer
	b.Grow(len(object) + 2*len(id) + 32)
	fmt.Fprintf(&b, `{%q:%q,%q:%q`, memberCommit, id, memberBorn, born)
	if rest := bytes.TrimSpace(object[1:]); rest[0] != '}' {
		b.WriteByte(',')
	}
	b.Write(object[1:])
	return b.Bytes()
}

func hasUnknown(old []byte, t reflect.Type) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(old, &members) != nil {
		return false
	}
	known := fields(t)
	if known == nil {
		return false
	}
	for name, raw := range members {
		ft, ok := known[name]
		if !ok && name != memberCommit && name != memberBorn {
			return true
		}
		if ok && len(raw) > 0 && raw[0] == '{' && hasUnknown(raw, ft) {
			return true
		}
	}
	return false
}

// merge returns fresh plus the members of old that t does not know.
func merge(old, fresh []byte, t reflect.Type) ([]byte, error) {
	known := fields(t)
	var was, is map[string]json.RawMessage
	if known == nil || json.Unmarshal(old, &was) != nil || json.Unmarshal(fresh, &is) != nil {
		return fresh, nil
	}
	for name, raw := range was {
		ft, ok := known[name]
		switch {
		case name == memberCommit || name == memberBorn:
		case !ok:
			is[name] = raw
		case is[name] != nil && is[name][0] == '{' && raw[0] == '{':
			merged, err := merge(raw, is[name], ft)
			if err != nil {
				return nil, err
			}
			is[name] = merged
		}
	}
	return json.Marshal(is)
}

// fields maps the JSON members of a struct type to their types, or returns nil
// for a type that is not a struct or writes its own JSON.
func fields(t reflect.Type) map[string]reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	marshaler := reflect.TypeFor[json.Marshaler]()
	if t.Kind() != reflect.Struct || t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return nil
	}
	known := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			maps.Copy(known, fields(f.Type))
		case f.IsExported() && name == "":
			known[f.Name] = f.Type
		case f.IsExported():
			known[name] = f.Type
		}
	}
	return known
}
