package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// theDocument is what GET /openapi.json answers, parsed.
var theDocument = sync.OnceValues(func() (tree, error) {
	s := newServer(newFake(), testConfig())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	if w.Code != 200 || w.Header().Get("Content-Type") != typeJSON {
		return nil, fmt.Errorf("GET /openapi.json: %d %s", w.Code, w.Header())
	}
	v, err := decoded(w.Body.Bytes())
	document, _ := v.(tree)
	return document, err
})

// contract holds requests and answers against the document.
type contract struct {
	validator
	mux *http.ServeMux
	ops map[string]tree // by method and pattern
}

func newContract(t testing.TB) *contract {
	d, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{validator{document: d}, http.NewServeMux(), map[string]tree{}}
	for path, methods := range d["paths"].(tree) {
		for method, op := range methods.(tree) {
			pattern := strings.ToUpper(method) + " " + path
			if path == "/" {
				pattern += "{$}"
			}
			c.ops[pattern] = op.(tree)
			c.mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
		}
	}
	return c
}

// holds says what of a request and its answer is not as described.
func (c *contract) holds(method, url, body string, w *httptest.ResponseRecorder) error {
	r := httptest.NewRequest(method, url, nil)
	if !clean(r.URL.EscapedPath()) {
		return nil
	}
	_, pattern := c.mux.Handler(escaped(r))
	op := c.ops[pattern]
	if op == nil || w.Code == http.StatusMethodNotAllowed {
		return nil
	}
	if w.Code == 200 && body != "" {
		if v, err := decoded([]byte(body)); err == nil {
			if err := c.body(op, v); err != nil {
				return fmt.Errorf("a request that succeeds is not described: %w", err)
			}
		}
	}
	if w.Code == http.StatusNotModified || w.Body.Len() == 0 {
		return nil
	}
	responses := op["responses"].(tree)
	response, ok := responses[fmt.Sprint(w.Code)].(tree)
	switch {
	case !ok && w.Code < 300 && w.Code != http.StatusPartialContent:
		return fmt.Errorf("the status %d is not described", w.Code)
	case w.Code == http.StatusPartialContent, w.Code == http.StatusRequestedRangeNotSatisfiable:
		return nil
	case !ok:
		response = responses["default"].(tree)
	}
	response, err := c.resolve(response)
	if err != nil {
		return err
	}
	contentType := w.Header().Get("Content-Type")
	described, ok := response["content"].(tree)[contentType].(tree)
	if !ok && strings.HasPrefix(pattern, "GET /metrics") && strings.HasPrefix(contentType, "text/plain") {
		return nil
	}
	if !ok {
		return fmt.Errorf("the content type %q is not described", contentType)
	}
	if contentType != typeJSON {
		return nil
	}
	v, err := decoded(w.Body.Bytes())
	if err != nil {
		return err
	}
	held := c.validator
	held.partial = r.URL.Query().Get("fields") != ""
	return held.check(described["schema"].(tree), v, "the answer")
}

func (c *contract) body(op tree, v any) error {
	b, ok := op["requestBody"].(tree)
	if !ok {
		if given, _ := v.(tree); len(given) > 0 {
			return fmt.Errorf("it has a body: %v", v)
		}
		return nil
	}
	return c.check(b["content"].(tree)[typeJSON].(tree)["schema"].(tree), v, "the body")
}

// TestOpenAPI holds that each route is described, and nothing else, and that the
// document fits itself.
func TestOpenAPI(t *testing.T) {
	c := newContract(t)
	ids, routed := map[string]bool{}, map[string]bool{}
	for _, rt := range routes() {
		name := rt.method + " " + rt.pattern
		routed[name] = true
		op := c.ops[name]
		if op == nil {
			t.Errorf("%s is not in the document", name)
			continue
		}
		id, _ := op["operationId"].(string)
		if id == "" || ids[id] || op["summary"] == "" {
			t.Errorf("%s needs a summary and an ID of its own in describe.go, not %q", name, id)
		}
		ids[id] = true
		var inPath []string
		for _, p := range listIn(op, "parameters") {
			p, err := c.resolve(p.(tree))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if p["in"] == "path" {
				inPath = append(inPath, p["name"].(string))
			}
		}
		for _, m := range pathArgument.FindAllStringSubmatch(rt.pattern, -1) {
			if !slices.Contains(inPath, m[1]) {
				t.Errorf("%s: the path's %s is not described", name, m[1])
			}
		}
		if open := op["security"] == nil; open != (rt.access == anyone) {
			t.Errorf("%s: open to anyone: %v", name, open)
		}
		c.checkArguments(t, &rt, op)
	}
	for name := range c.ops {
		if !routed[name] {
			t.Errorf("%s is in the document and not in the table of routes", name)
		}
	}
	for name := range descriptions {
		if !routed[name] {
			t.Errorf("%s is in describe.go and not in the table of routes", name)
		}
	}
}

func listIn(t tree, name string) []any {
	l, _ := t[name].([]any)
	return l
}

// checkArguments holds that the body's members are the route's arguments.
func (c *contract) checkArguments(t *testing.T, rt *route, op tree) {
	name := rt.method + " " + rt.pattern
	b, ok := op["requestBody"].(tree)
	if ok != (rt.args != "") {
		t.Errorf("%s: described with a body: %v, arguments %q", name, ok, rt.args)
	}
	if !ok {
		return
	}
	schema := b["content"].(tree)[typeJSON].(tree)["schema"].(tree)
	for arg, s := range schema["properties"].(tree) {
		if !rt.knows(arg) || s == nil {
			t.Errorf("%s: the argument %s: known %v, schema %v", name, arg, rt.knows(arg), s)
		}
	}
	for arg := range strings.FieldsSeq(rt.args) {
		if schema["properties"].(tree)[arg] == nil {
			t.Errorf("%s: the argument %s is not described", name, arg)
		}
	}
	for _, arg := range listIn(schema, "required") {
		if !slices.Contains(strings.Fields(rt.args), arg.(string)) {
			t.Errorf("%s: %s is required and no argument", name, arg)
		}
	}
}

// TestOpenAPIArguments holds what the document says of arguments against the handlers:
// what is required is missed, and what has the wrong type is refused.
func TestOpenAPIArguments(t *testing.T) {
	good := map[string]string{
		"namespace": `"demo"`, "key": `"k"`, "key_name": `"k"`, "value": `"v"`, "confirm": "true", "netblock": `"10.1.0.0/24"`, "name": `"n"`,
		"cpus": "1", "memory": "64", "disk": `[{"size": 1}]`, "url": `"http://x/y"`,
	}
	for _, rt := range routes() {
		d := descriptions[rt.method+" "+rt.pattern]
		args := strings.Fields(rt.args)
		body := func(but, value string) string {
			var members []string
			for _, arg := range args {
				switch {
				case arg == but && value != "":
					members = append(members, fmt.Sprintf("%q: %s", arg, value))
				case arg != but && slices.Contains(strings.Fields(d.needs), arg):
					members = append(members, fmt.Sprintf("%q: %s", arg, good[arg]))
				}
			}
			return "{" + strings.Join(members, ", ") + "}"
		}
		for _, arg := range args {
			c := withObjects(t)
			url := concrete(c, rt.pattern)
			who := "system"
			if rt.access == anyone {
				who = "-"
			}
			if slices.Contains(strings.Fields(d.needs), arg) {
				if w := c.ask(who, rt.method, url, nil, body(arg, "")); w.Code != 400 {
					t.Errorf("%s %s without %s: %d %s", rt.method, rt.pattern, arg, w.Code, w.Body)
				}
			}
			if arg == "value" {
				continue // of any type
			}
			if w := c.ask(who, rt.method, url, nil, body(arg, "[[]]")); w.Code != 400 {
				t.Errorf("%s %s with a list as %s: %d %s", rt.method, rt.pattern, arg, w.Code, w.Body)
			}
		}
	}
}

// TestOpenAPIParameters holds what the document says of parameters against the
// handlers: one that is described is looked at.
func TestOpenAPIParameters(t *testing.T) {
	wrong := []struct{ name, url, header, value, says string }{
		{"limit", "?limit=none", "", "", "limit should"}, {"fields", "?fields=none", "", "", "fields: "}, {"wait", "?wait=none", "", "", "wait should"},
		{"async", "?async=perhaps", "", "", "async should"}, {"dry_run", "?dry_run=yes", "", "", "dry_run should"},
		{"Idempotency-Key", "", "Idempotency-Key", "a key", "Idempotency-Key should"}, {"If-Match", "", "If-Match", `"another version"`, "412 only"},
	}
	bodies := map[string]string{
		"POST /networks": `{"netblock": "10.1.0.0/24"}`, "POST /instances": vm(oneDisk),
	}
	for _, rt := range routes() {
		name := rt.method + " " + rt.pattern
		d := descriptions[name]
		described := append(strings.Fields(d.query), strings.Fields(d.header)...)
		if rt.conditional() {
			described = append(described, "If-Match")
		}
		_, isUpgrade := d.answer.(upgrade)
		if isUpgrade || rt.pattern == "/events" {
			continue
		}
		for _, w := range wrong {
			c := withObjects(t)
			header := http.Header{}
			if w.header != "" {
				header.Set(w.header, w.value)
			}
			body := bodies[name]
			switch {
			case strings.HasSuffix(rt.pattern, "/metadata") && rt.method == "POST":
				body = `{"key": "a", "value": "v"}`
			case strings.Contains(rt.pattern, "/metadata/") && rt.method == "PUT":
				body = `{"value": "v"}`
			}
			if rt.args != "" && body == "" && rt.method != "GET" {
				continue // it would be refused for its arguments
			}
			got := c.ask("system", rt.method, concrete(c, rt.pattern)+w.url, header, body)
			refused := got.Code == 400 && strings.Contains(got.Body.String(), w.says) || got.Code == 412
			if refused != slices.Contains(described, w.name) {
				t.Errorf("%s with a wrong %s: %d %s; described: %v", name, w.name, got.Code, got.Body, !refused)
			}
		}
	}
}
