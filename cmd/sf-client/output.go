package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// object is a JSON object; its members are written in alphabetical order.
type object map[string]any

func stamp(t time.Time) pyFloat {
	if t.IsZero() {
		return 0
	}
	return pyFloat(float64(t.UnixMicro()) / 1e6)
}

// orNone is s, or nil where it is empty.
func orNone(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// printJSON prints v as Python does with sorted keys and an indentation of 4:
// what is not ASCII is escaped.
func (a *app) printJSON(v any) error {
	text, err := pyJSON(v, "    ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, text)
	return err
}

func pyJSON(v any, indent string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return escape(strings.TrimSuffix(b.String(), "\n")), nil
}

// escape writes what is not ASCII as \u escapes.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// list is what the listing commands print.
type list struct {
	name    string   // of the JSON member
	columns []string // headings
	fields  []string // of JSON, one for each column
	rows    [][]any
	json    [][]any // instead of rows, where JSON differs; nil for the same
}

func (l *list) add(values ...any) { l.rows = append(l.rows, values) }

// print prints a list in the chosen format.
func (a *app) print(l *list) error {
	switch a.format {
	case asJSON:
		return a.printJSON(object{l.name: l.objects()})
	case simple:
		fmt.Fprintln(a.out, strings.Join(l.columns, ","))
		for _, row := range l.rows {
			fmt.Fprintln(a.out, commas(row...))
		}
		return nil
	}
	_, err := fmt.Fprint(a.out, table(l.columns, l.rows, a.paintState))
	return err
}

func (l *list) objects() []object {
	rows := l.json
	if rows == nil {
		rows = l.rows
	}
	out := make([]object, len(rows))
	for i, row := range rows {
		out[i] = object{}
		for f, name := range l.fields {
			out[i][name] = row[f]
		}
	}
	return out
}

// commas joins values as the simple format does, without quoting.
func commas(values ...any) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = show(v)
	}
	return strings.Join(out, ",")
}

// done is what an action prints that has nothing to say.
func (a *app) done(err error) error {
	if err == nil && a.format == asJSON {
		fmt.Fprintln(a.out, "{}")
	}
	return err
}
