package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What is printed for people and scripts looks as Python prints it, for the first
// client was written in that, and scripts have been made for its output.

// pyFloat is a number as Python writes it: always with a point or an exponent.
type pyFloat float64

func (f pyFloat) String() string {
	form := byte('f')
	if size := math.Abs(float64(f)); size != 0 && (size < 1e-4 || size >= 1e16) {
		form = 'e'
	}
	s := strconv.FormatFloat(float64(f), form, -1, 64)
	if form == 'f' && !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// MarshalJSON writes the number as String does.
func (f pyFloat) MarshalJSON() ([]byte, error) { return []byte(f.String()), nil }

// show is a value as Python prints it.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64: // of JSON, which does not tell 1 from 1.0
		if v == math.Trunc(v) {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
		return pyFloat(v).String()
	case []any:
		words := make([]string, len(v))
		for i, item := range v {
			words[i] = inside(item)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case map[string]any:
		var words []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			words = append(words, quote(key)+": "+inside(v[key]))
		}
		return "{" + strings.Join(words, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// inside is a value within a list or a map, where texts have quotes.
func inside(v any) string {
	if s, ok := v.(string); ok {
		return quote(s)
	}
	return show(v)
}

// quote is a text as Python writes it in a program.
func quote(s string) string {
	q := '\''
	if strings.ContainsRune(s, q) && !strings.ContainsRune(s, '"') {
		q = '"'
	}
	var b strings.Builder
	b.WriteRune(q)
	for _, r := range s {
		switch {
		case r == q || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(q)
	return b.String()
}
