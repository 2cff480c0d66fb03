package api

import (
	"bytes"
	"errors"
)

var errObject = errors.New("a record is no JSON object")

// eachMember calls f for the members of a JSON object, with names as they are
// written. It is for what this program has encoded, and does not look into values.
func eachMember(object []byte, f func(name, value []byte)) error {
	rest := bytes.TrimSpace(object)
	if len(rest) < 2 || rest[0] != '{' || rest[len(rest)-1] != '}' {
		return errObject
	}
	for rest = rest[1 : len(rest)-1]; len(rest) > 0; {
		n := valueEnd(rest)
		if n < 2 || n >= len(rest) || rest[0] != '"' || rest[n] != ':' {
			return errObject
		}
		name := rest[1 : n-1]
		rest = rest[n+1:]
		n = valueEnd(rest)
		f(name, rest[:n])
		if n < len(rest) { // the comma
			n++
		}
		rest = rest[n:]
	}
	return nil
}

// valueEnd is where the value that begins a text ends: before the comma, colon or
// bracket that follows it.
func valueEnd(text []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case depth == 0 && (c == ',' || c == ':'):
			return i
		}
	}
	return len(text)
}
