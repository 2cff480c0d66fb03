package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// FuzzBodies sends arbitrary bodies to every route: the answer is always one of
// the API's own shapes, and never an internal error.
func FuzzBodies(f *testing.F) {
	files, _ := filepath.Glob("testdata/wire/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for i, m := range regexp.MustCompile(`(?m)^> .*?(\{.*\})$`).FindAllSubmatch(text, -1) {
			f.Add(uint(i), m[1])
		}
	}
	f.Add(uint(1), []byte(`[`))
	f.Add(uint(1), []byte("{\"namespace\": \"\xff\"}"))
	table := slices.DeleteFunc(routes(), func(rt route) bool { return rt.pattern == "/events" }) // which does not end
	f.Fuzz(func(t *testing.T, n uint, body []byte) {
		rt := table[n%uint(len(table))]
		c := withObjects(t)
		w := c.ask("system", rt.method, concrete(c, rt.pattern), nil, string(body))
		if w.Code != 200 && w.Code/100 != 4 {
			t.Fatalf("%s %s with %q: %d %s", rt.method, rt.pattern, body, w.Code, w.Body)
		}
		if w.Header().Get("Content-Type") == typeJSON && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s with %q: not JSON: %s", rt.method, rt.pattern, body, w.Body)
		}
	})
}

// FuzzAuthorization sends arbitrary headers: nobody gets in by chance.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer ", "Bearer a.b.c", "Basic eHg6eXk=", "Bearer eyJhbGciOiJub25lIn0.eyJpZGVudGl0eSI6InN5c3RlbSJ9."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c := newConversation(t)
		w := c.ask("-", "GET", "/nodes", map[string][]string{"Authorization": {header}}, "")
		if w.Code != 401 {
			t.Fatalf("%q: %d %s", header, w.Code, w.Body)
		}
	})
}
