package api

import (
	"reflect"
	"strings"
	"time"
	"unicode"
)

// schemas are the schemas of records by their names in the document.
type schemas tree

// What is said of an answer that is no JSON value of one type.
type (
	either    []any               // one of these
	media     string              // another content type
	upgrade   struct{}            // a websocket
	withLines struct{ value any } // or, where that is accepted, lines of progress
)

// of returns the schema of a value of v's type, and adds what it refers to.
func (s schemas) of(v any) tree {
	switch v := v.(type) {
	case nil:
		return tree{"type": "null"}
	case either:
		var any []any
		for _, one := range v {
			any = append(any, s.of(one))
		}
		return tree{"anyOf": any}
	}
	return s.ofType(reflect.TypeOf(v))
}

var timeType, secondsType = reflect.TypeFor[time.Time](), reflect.TypeFor[seconds]()

func (s schemas) ofType(t reflect.Type) tree {
	switch {
	case t == timeType:
		return tree{"type": "string", "format": "date-time"}
	case t == secondsType:
		return tree{"type": "number", "description": "seconds since 1970"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return orNullSchema(s.ofType(t.Elem()))
	case reflect.Struct:
		return s.named(t)
	case reflect.Slice:
		return tree{"type": "array", "items": s.ofType(t.Elem())}
	case reflect.Map:
		return tree{"type": "object", "additionalProperties": s.ofType(t.Elem())}
	case reflect.String:
		return tree{"type": "string"}
	case reflect.Bool:
		return tree{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return tree{"type": "number"}
	case reflect.Interface:
		return tree{} // anything
	}
	return tree{"type": "integer"}
}

// orNullSchema is a schema that null fits too.
func orNullSchema(of tree) tree {
	if kind, ok := of["type"].(string); ok && len(of) == 1 {
		return tree{"type": []string{kind, "null"}}
	}
	return tree{"anyOf": []any{of, tree{"type": "null"}}}
}

// named describes a struct once and returns a reference to it.
func (s schemas) named(t reflect.Type) tree {
	name := []rune(strings.TrimSuffix(strings.TrimSuffix(t.Name(), "Wire"), "Body"))
	if len(name) == 0 {
		return s.record(t)
	}
	name[0] = unicode.ToUpper(name[0])
	if s[string(name)] == nil {
		s[string(name)] = tree{} // ends recursion
		s[string(name)] = s.record(t)
	}
	return tree{"$ref": "#/components/schemas/" + string(name)}
}

func (s schemas) record(t reflect.Type) tree {
	members, required := tree{}, []string{}
	s.members(t, members, &required)
	return tree{"type": "object", "properties": members, "required": required}
}

// members adds what the JSON of a struct has: those of embedded structs with it.
func (s schemas) members(t reflect.Type, into tree, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.members(f.Type, into, required)
		case name != "" && name != "-" && into[name] == nil:
			into[name] = s.ofType(f.Type)
			if !strings.Contains(options, "omit") {
				*required = append(*required, name)
			}
		}
	}
}
