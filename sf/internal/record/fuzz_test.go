package record

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzEncode writes over whatever text a record had: the result is one object with the
// new value, and with every member of the old one that this version does not know.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":"old","later":{"a":[1]}}`, `{"~born":"b","inner":{"x":1,"later":2}}`, `{"inner":5}`, `null`, `[]`, `{"name":{"a":1}}`, `{"inner":{"x":{}}}`} {
		f.Add([]byte(s))
	}
	type inside struct {
		X int `json:"x"`
	}
	type value struct {
		Name  string `json:"name"`
		Inner inside `json:"inner"`
	}
	want := value{"new", inside{7}}
	f.Fuzz(func(t *testing.T, old []byte) {
		text, err := encode(want, old, "id")
		if err != nil {
			return
		}
		var got value
		var m marks
		if json.Unmarshal(text, &got) != nil || json.Unmarshal(text, &m) != nil || got != want || m.Commit != "id" {
			t.Fatalf("%s over %s", text, old)
		}
		var was, is map[string]any
		if json.Unmarshal(old, &was) != nil || json.Unmarshal(text, &is) != nil {
			return
		}
		for name, v := range was {
			if is[name] == nil && v != nil {
				t.Errorf("%s over %s lost %q", text, old, name)
			}
			if _, known := fields(reflect.TypeOf(want))[name]; !known && name != memberCommit && name != memberBorn && !reflect.DeepEqual(is[name], v) {
				t.Errorf("%s over %s changed %q", text, old, name)
			}
		}
	})
}
