package api

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Members are cut out as a decoder reads them.
func FuzzEachMember(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"a":"x,}\\\"]","b":{"c":[1,{"d":":"}]},"e":null}`, `{"a":[],"b":{}, "c":-1.5e3}`, `[1]`, `{`, `{"a"}`, "{\"a\":true}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := map[string]any{}
		err := eachMember(text, func(name, value []byte) {
			var n string
			var v any
			if json.Unmarshal([]byte(`"`+string(name)+`"`), &n) == nil && json.Unmarshal(value, &v) == nil {
				got[n] = v
			}
		})
		var canonical any
		if json.Unmarshal(text, &canonical) != nil {
			return // whatever it makes of that, it ends
		}
		want, ok := canonical.(map[string]any)
		if !ok {
			if err == nil {
				t.Fatalf("%q is no object", text)
			}
			return
		}
		again, _ := json.Marshal(want) // as we encode: no spaces between members
		clear(got)
		err = eachMember(again, func(name, value []byte) {
			var n string
			var v any
			if json.Unmarshal([]byte(`"`+string(name)+`"`), &n) != nil || json.Unmarshal(value, &v) != nil {
				t.Fatalf("%q: member %q: %q", again, name, value)
			}
			got[n] = v
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, %v", again, got, err)
		}
	})
}
