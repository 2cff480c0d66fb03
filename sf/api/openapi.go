package api

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// The document of the API is made of the table of routes, the types of the records,
// and what describe.go says besides. So it cannot lag behind the handlers; tests hold
// every answer that they get against it.

// openapiVersion is of the specification that the document follows: the first that
// allows bodies of GET and DELETE, which the seed's clients send.
const openapiVersion = "3.1.0"

// openAPI answers with the document.
func (q *request) openAPI() (any, error) {
	q.w.Header().Set("Cache-Control", "max-age=3600")
	return q.document()
}

// tree is a JSON object.
type tree = map[string]any

// newDocument describes routes.
func newDocument(table []route) tree {
	s := schemas{}
	failure := s.of(failureBody{})
	paths := tree{}
	for _, rt := range table {
		path := strings.TrimSuffix(rt.pattern, "{$}")
		if paths[path] == nil {
			paths[path] = tree{}
		}
		paths[path].(tree)[strings.ToLower(rt.method)] = s.operation(&rt, descriptions[rt.method+" "+rt.pattern])
	}
	return tree{
		"openapi": openapiVersion,
		"info": tree{
			"title": "Shaken Fist", "version": "0.2.6",
			"description": "The REST API of Shaken Fist 0.2.6 and additions that its clients do not notice. Members of answers may be added at any time.",
		},
		"paths": paths,
		"components": tree{
			"schemas":    s,
			"parameters": componentParameters(),
			"responses": tree{"Failure": tree{
				"description": "What went wrong, and what to do.",
				"content":     content(typeJSON, failure),
			}},
			"securitySchemes": tree{"token": tree{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From POST /auth."}},
		},
	}
}

// operation describes a route.
func (s schemas) operation(rt *route, d description) tree {
	op := tree{
		"operationId": d.id, "summary": d.summary, "tags": []string{rt.tag()},
		"responses": tree{"default": tree{"$ref": "#/components/responses/Failure"}},
	}
	status, answer := s.answer(d.answer)
	op["responses"].(tree)[status] = answer
	if rt.access != anyone {
		op["security"] = []any{tree{"token": []any{}}}
		op["description"] = "For " + accessText[rt.access] + "."
	}
	parameters := []any{}
	for _, m := range pathArgument.FindAllStringSubmatch(rt.pattern, -1) {
		parameters = append(parameters, tree{"name": m[1], "in": "path", "required": true, "schema": tree{"type": "string"}})
	}
	names := slices.Concat(strings.Fields(d.query), strings.Fields(d.header))
	if rt.conditional() {
		names = append(names, "If-Match")
	}
	for _, name := range names {
		parameters = append(parameters, tree{"$ref": "#/components/parameters/" + name})
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if rt.args != "" {
		op["requestBody"] = tree{"required": d.needs != "", "content": content(typeJSON, s.arguments(rt, d))}
	}
	return op
}

var pathArgument = regexp.MustCompile(`\{(\w+)\}`)

// accessText says who may use a route.
var accessText = map[access]string{
	caller: "whoever has a token", admin: "the namespace system", member: "the namespace, and system",
	instanceOwner: "the instance's namespace, and system", networkOwner: "the network's namespace, and system",
	snapshotOwner: "the snapshot's namespace, and system", interfaceOwner: "the interface's namespace, and system",
}

// tag is the group of a route.
func (rt *route) tag() string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(rt.pattern, "/"), "/")
	switch {
	case first == "auth" && rest != "":
		return "namespaces"
	case len(first) > 2 && strings.HasSuffix(first, "s") && first != "events" && first != "metrics":
		return first
	}
	return "server"
}

// answer describes the answer that a handler gives where nothing is wrong.
func (s schemas) answer(v any) (status string, response tree) {
	switch v := v.(type) {
	case upgrade:
		return "101", tree{"description": "A websocket of binary messages, both ways."}
	case media:
		return "200", tree{"description": "Done.", "content": content(string(v), tree{"type": "string"})}
	case withLines:
		c := content(typeJSON, s.of(v.value))
		maps.Copy(c, content(typeLines, tree{"type": "string"}))
		return "200", tree{"description": "Done.", "content": c}
	}
	return "200", tree{"description": "Done.", "content": content(typeJSON, s.of(v))}
}

func content(contentType string, schema tree) tree { return tree{contentType: tree{"schema": schema}} }

// arguments describes the body of a request.
func (s schemas) arguments(rt *route, d description) tree {
	members := tree{}
	for name := range strings.FieldsSeq(rt.args) {
		members[name] = argumentSchemas[name]
	}
	a := tree{"type": "object", "properties": members, "additionalProperties": false}
	for _, m := range pathArgument.FindAllStringSubmatch(rt.pattern, -1) {
		if members[m[1]] == nil {
			members[m[1]] = tree{"description": "Ignored: the path says what is meant."}
		}
	}
	if d.needs != "" {
		a["required"] = strings.Fields(d.needs)
	} else {
		a["type"] = []string{"object", "null"}
	}
	return a
}

func componentParameters() tree {
	all := tree{}
	for name, p := range parameters {
		in := "query"
		if name[0] >= 'A' && name[0] <= 'Z' {
			in = "header"
		}
		all[name] = tree{"name": name, "in": in, "description": p.says, "schema": tree{"type": p.kind}}
	}
	return all
}

// conditional reports whether If-Match can be said of the route's object.
func (rt *route) conditional() bool {
	switch {
	case strings.Contains(rt.pattern, "/metadata"):
		return true
	case strings.HasSuffix(rt.pattern, "/snapshot") && rt.method == http.MethodGet:
		return false
	}
	return rt.access == instanceOwner || rt.access == networkOwner
}
