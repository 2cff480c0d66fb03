package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
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
// objects and lists of them too, so that an older version of the software never drops what a newer
// one wrote. Times are in UTC.
func encode(value any, old []byte, id string) ([]byte, error) {
	fresh, err := json.Marshal(inUTC(value))
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

// hasUnknown reports whether text has members that t does not know, however deep.
func hasUnknown(text []byte, t reflect.Type) bool {
	t = indirect(t)
	if element := elementOf(t); element != nil {
		var list []json.RawMessage
		if !isList(text) || json.Unmarshal(text, &list) != nil {
			return false
		}
		return slices.ContainsFunc(list, func(e json.RawMessage) bool { return hasUnknown(e, element) })
	}
	known := fields(t)
	var members map[string]json.RawMessage
	if known == nil || json.Unmarshal(text, &members) != nil {
		return false
	}
	for name, raw := range members {
		ft, ok := known[name]
		if !ok && name != memberCommit && name != memberBorn || ok && hasUnknown(raw, ft) {
			return true
		}
	}
	return false
}

// merge returns fresh plus the members of old that t does not know.
func merge(old, fresh []byte, t reflect.Type) ([]byte, error) {
	t = indirect(t)
	if element := elementOf(t); element != nil {
		return mergeLists(old, fresh, element)
	}
	known := fields(t)
	var was, is map[string]json.RawMessage
	if known == nil || json.Unmarshal(old, &was) != nil || json.Unmarshal(fresh, &is) != nil || is == nil {
		return fresh, nil
	}
	for name, raw := range was {
		ft, ok := known[name]
		switch {
		case name == memberCommit || name == memberBorn:
		case !ok:
			is[name] = raw
		case is[name] != nil:
			merged, err := merge(raw, is[name], ft)
			if err != nil {
				return nil, err
			}
			is[name] = merged
		}
	}
	return json.Marshal(is)
}

// mergeLists merges the elements of two lists that are of the same thing: of the
// same name where they have one, else at the same place in lists of the same length.
func mergeLists(old, fresh []byte, t reflect.Type) ([]byte, error) {
	var was, is []json.RawMessage
	if !isList(old) || !isList(fresh) || json.Unmarshal(old, &was) != nil || json.Unmarshal(fresh, &is) != nil {
		return fresh, nil
	}
	named := map[string]json.RawMessage{}
	for _, e := range was {
		if name := nameOf(e); name != "" {
			named[name] = e
		}
	}
	for i, e := range is {
		before := named[nameOf(e)]
		if before == nil && len(named) == 0 && len(was) == len(is) {
			before = was[i]
		}
		if before == nil {
			continue
		}
		merged, err := merge(before, e, t)
		if err != nil {
			return nil, err
		}
		is[i] = merged
	}
	return json.Marshal(is)
}

// nameOf is what tells an element of a list from the others.
func nameOf(element []byte) string {
	var names struct{ UUID, Name, Device string }
	if json.Unmarshal(element, &names) != nil {
		return ""
	}
	return cmp.Or(names.UUID, names.Name, names.Device)
}

func isList(text []byte) bool { return len(text) > 0 && text[0] == '[' }

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// elementOf is the type of a list's elements, nil of anything but a list of
// structs.
func elementOf(t reflect.Type) reflect.Type {
	if t.Kind() != reflect.Slice || indirect(t.Elem()).Kind() != reflect.Struct {
		return nil
	}
	return t.Elem()
}

// fields maps the JSON members of a struct type to their types, or returns nil
// for a type that is not a struct or writes its own JSON.
func fields(t reflect.Type) map[string]reflect.Type {
	t = indirect(t)
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
