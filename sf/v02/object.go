package v02

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// object is a record's JSON object, of which what is asked for is checked: wrong
// collects what is not as it has to be.
type object struct {
	members map[string]any
	wrong   []string
}

// parse reads a record; its error says why it is no object.
func parse(value []byte) (*object, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var o object
	if err := d.Decode(&o.members); err != nil || d.More() {
		return nil, fmt.Errorf("its record is damaged: it is not one JSON object")
	}
	if o.members == nil {
		return nil, fmt.Errorf("its record is null")
	}
	return &o, nil
}

// err says everything that is wrong; nil for nothing.
func (o *object) err() error {
	if len(o.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("its record is damaged: %s", strings.Join(o.wrong, ", "))
}

func (o *object) bad(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(o.wrong, text) {
		o.wrong = append(o.wrong, text)
	}
}

// text is a string that has to be there.
func (o *object) text(key string) string {
	if v, ok := o.members[key]; !ok || v == nil {
		o.bad("%s is missing", key)
		return ""
	}
	return o.maybe(key)
}

// maybe is a string that may be null or missing.
func (o *object) maybe(key string) string {
	switch v := o.members[key].(type) {
	case nil:
	case string:
		return v
	default:
		o.bad("%s is no text", key)
	}
	return ""
}

// number is a whole number, which clients may have given as text; 0 where it may be
// missing and is.
func (o *object) number(key string, needed bool) int {
	v := o.members[key]
	switch v.(type) {
	case json.Number, string:
		if v == "" && !needed {
			return 0
		}
		if n, err := strconv.Atoi(fmt.Sprint(v)); err == nil {
			return n
		}
	case nil:
		if !needed {
			return 0
		}
		o.bad("%s is missing", key)
		return 0
	}
	o.bad("%s is no whole number", key)
	return 0
}

// truth is a boolean; null and missing are false.
func (o *object) truth(key string) bool {
	switch v := o.members[key].(type) {
	case nil:
	case bool:
		return v
	default:
		o.bad("%s is neither true nor false", key)
	}
	return false
}

// objects are the elements of a list of objects; nil for null or missing.
func (o *object) objects(key string) []*object {
	if o.members[key] == nil {
		return nil
	}
	list, ok := o.members[key].([]any)
	if !ok {
		o.bad("%s is no list", key)
	}
	var all []*object
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			o.bad("%s has something that is no object", key)
			return nil
		}
		all = append(all, &object{members: m})
	}
	return all
}

// object is a member that is an object; an empty one for null or missing.
func (o *object) object(key string) *object {
	m, ok := o.members[key].(map[string]any)
	if !ok && o.members[key] != nil {
		o.bad("%s is no object", key)
	}
	return &object{members: m}
}

// takeOver makes what is wrong with a part wrong with the whole.
func (o *object) takeOver(part *object, name string) {
	for _, w := range part.wrong {
		o.bad("%s: %s", name, w)
	}
}
