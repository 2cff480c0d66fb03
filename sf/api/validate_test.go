package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// validator holds JSON values against the schemas of a document. It is stricter than
// the document where that is about records: a member that is not described is wrong.
type validator struct {
	document tree
	partial  bool // members that are required may be missing, see ?fields=
}

// schemaWords are those that it understands; others would be ignored.
var schemaWords = []string{"$ref", "anyOf", "type", "properties", "required", "additionalProperties", "items", "enum", "pattern", "description", "format"}

// resolve follows a reference within the document.
func (v validator) resolve(s tree) (tree, error) {
	ref, ok := s["$ref"].(string)
	if !ok {
		return s, nil
	}
	at := any(v.document)
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		inner, _ := at.(tree)
		at = inner[part]
	}
	target, ok := at.(tree)
	if !ok {
		return nil, fmt.Errorf("%s leads nowhere", ref)
	}
	return target, nil
}

// check says what is wrong with a value at a place.
func (v validator) check(schema tree, value any, at string) error {
	s, err := v.resolve(schema)
	if err != nil {
		return err
	}
	for word := range s {
		if !slices.Contains(schemaWords, word) {
			return fmt.Errorf("%s: the schema has %q, which nobody checks", at, word)
		}
	}
	if options, ok := s["anyOf"].([]any); ok {
		var errs []string
		for _, o := range options {
			err := v.check(o.(tree), value, at)
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fmt.Errorf("%s fits none: %s", at, strings.Join(errs, "; "))
	}
	if kinds := kindsOf(s["type"]); kinds != nil && !slices.ContainsFunc(kinds, func(k string) bool { return isKind(value, k) }) {
		return fmt.Errorf("%s is %v (%T), want %v", at, value, value, kinds)
	}
	if among, ok := s["enum"].([]any); ok && !slices.ContainsFunc(among, func(a any) bool { return reflect.DeepEqual(a, value) }) {
		return fmt.Errorf("%s is %v, want one of %v", at, value, among)
	}
	switch value := value.(type) {
	case string:
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(value) {
			return fmt.Errorf("%s is %q, want %s", at, value, p)
		}
	case []any:
		items, ok := s["items"].(tree)
		for i, e := range value {
			if !ok {
				break
			}
			if err := v.check(items, e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case tree:
		return v.checkMembers(s, value, at)
	}
	return nil
}

func (v validator) checkMembers(s, value tree, at string) error {
	members, described := s["properties"].(tree)
	others, more := s["additionalProperties"].(tree)
	for _, name := range slices.Sorted(maps.Keys(value)) {
		inner, ok := members[name].(tree)
		if !ok && more {
			inner, ok = others, true
		}
		if !ok && described {
			return fmt.Errorf("%s has %q, which is not described", at, name)
		}
		if ok {
			if err := v.check(inner, value[name], at+"."+name); err != nil {
				return err
			}
		}
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := value[name.(string)]; !ok && !v.partial {
			return fmt.Errorf("%s lacks %q", at, name)
		}
	}
	return nil
}

func kindsOf(v any) (kinds []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, k := range v {
			kinds = append(kinds, k.(string))
		}
	}
	return kinds
}

func isKind(value any, kind string) bool {
	switch v := value.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case json.Number:
		_, err := v.Int64()
		return kind == "number" || kind == "integer" && err == nil
	case []any:
		return kind == "array"
	case tree:
		return kind == "object"
	}
	return false
}

// decoded is JSON with its numbers as they are.
func decoded(text []byte) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	return v, d.Decode(&v)
}
