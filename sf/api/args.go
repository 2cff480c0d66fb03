package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// args are the named arguments of a body. The methods that fetch one return the
// zero value where it is absent or null, and remember the first wrong type in
// err, so that a handler checks once.
type args struct {
	in     string // what holds them, in front of the texts of errors; "" for the body itself
	values map[string]json.RawMessage
	broken error // why the body is not JSON; it then counts as no arguments
	err    error
}

// bodyTime is how long a caller may take to send a body, so that one who never
// ends does not hold a connection for ever.
const bodyTime = 30 * time.Second

// readArgs reads the body. Content-Type and method don't matter. An empty body,
// null, and one that is not JSON all mean no arguments, as in the seed.
func readArgs(w http.ResponseWriter, r *http.Request, limit int64) (*args, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return &args{}, nil
	}
	connection := http.NewResponseController(w)
	connection.SetReadDeadline(time.Now().Add(bodyTime)) // where there is a connection
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	connection.SetReadDeadline(time.Time{})
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		f := invalid(fmt.Sprintf("the request body is longer than %d bytes", limit)).(*fault)
		f.status = http.StatusRequestEntityTooLarge
		return nil, f
	}
	if err != nil {
		return nil, errGone
	}
	return parseArgs("", body)
}

func parseArgs(in string, data []byte) (*args, error) {
	a := &args{in: in}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return a, nil
	}
	if !json.Valid(data) {
		a.broken = json.Unmarshal(data, &a.values)
		return a, nil
	}
	if data[0] != '{' && string(data) != "null" {
		return nil, invalid("the arguments in the request body should be a JSON object")
	}
	return a, json.Unmarshal(data, &a.values)
}

// size is how many bytes the arguments hold.
func (a *args) size() (n int) {
	for name, value := range a.values {
		n += len(name) + len(value)
	}
	return n
}

// check refuses arguments that the route does not know.
func (a *args) check(rt *route) error {
	for _, name := range slices.Sorted(maps.Keys(a.values)) {
		if !rt.knows(name) {
			return invalid(fmt.Sprintf("%s() got an unexpected keyword argument '%s' (known: %s)",
				strings.ToLower(rt.method), name, known(rt.args)))
		}
	}
	return nil
}

// only refuses members that are not among names, separated by spaces.
func (a *args) only(names string) {
	for _, name := range slices.Sorted(maps.Keys(a.values)) {
		if !slices.Contains(strings.Fields(names), name) {
			a.fail("has an unknown key %q (known: %s)", name, known(names))
		}
	}
}

func known(names string) string {
	if names == "" {
		return "none"
	}
	return strings.ReplaceAll(names, " ", ", ")
}

func (a *args) fail(format string, v ...any) {
	if a.err == nil {
		a.err = invalid(strings.TrimPrefix(a.in+" ", " ") + fmt.Sprintf(format, v...))
	}
}

// missing is the error for a required argument that is not there.
func (a *args) missing(text string) error {
	if a.broken != nil {
		text += " (the request body is not JSON: " + a.broken.Error() + ")"
	}
	return invalid(text)
}

// given reports whether an argument is there and not null.
func (a *args) given(name string) bool {
	v, ok := a.values[name]
	return ok && string(v) != "null"
}

// text returns a string.
func (a *args) text(name string) (s string) {
	if a.given(name) && json.Unmarshal(a.values[name], &s) != nil {
		a.fail("%s should be a string, not %s", name, brief(a.values[name]))
	}
	return s
}

// flag returns a boolean.
func (a *args) flag(name string) (b bool) {
	if a.given(name) && json.Unmarshal(a.values[name], &b) != nil {
		a.fail("%s should be true or false, not %s", name, brief(a.values[name]))
	}
	return b
}

// number returns a whole number. Its digits in a string will do, which is how
// the seed's command line sends sizes; the empty string is not given.
func (a *args) number(name string) int {
	if !a.given(name) {
		return 0
	}
	digits := string(a.values[name])
	if digits[0] == '"' {
		digits = a.text(name)
		if digits == "" {
			return 0
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		a.fail("%s should be a whole number, not %s", name, brief(a.values[name]))
	}
	return n
}

// list returns the elements of a list of objects. what names the list's purpose
// in the error text, which is the seed's.
func (a *args) list(name, what string) []*args {
	var elements []json.RawMessage
	if a.given(name) && json.Unmarshal(a.values[name], &elements) != nil {
		a.fail("%s should be a list of JSON objects, not %s", name, brief(a.values[name]))
	}
	out := make([]*args, 0, len(elements))
	for i, e := range elements {
		if len(e) == 0 || e[0] != '{' {
			a.fail("%s specification should contain JSON objects", what)
			return nil
		}
		out = append(out, a.object(fmt.Sprintf("%s %d", what, i), e))
	}
	return out
}

func (a *args) object(in string, data json.RawMessage) *args {
	o := &args{in: in}
	if err := json.Unmarshal(data, &o.values); err != nil {
		a.fail("%s should be a JSON object, not %s", in, brief(data))
	}
	return o
}

// brief returns a value for the text of an error.
func brief(v json.RawMessage) string {
	const most = 40
	if s := []rune(string(v)); len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(v)
}

// isText reports whether an argument is a string.
func (a *args) isText(name string) bool {
	v := a.values[name]
	return len(v) > 0 && v[0] == '"'
}

// set adds an argument, given as text, that the body does not have.
func (a *args) set(name, value string) {
	if a.values == nil {
		a.values = map[string]json.RawMessage{}
	}
	a.values[name], _ = json.Marshal(value)
}
