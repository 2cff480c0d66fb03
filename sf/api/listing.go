package api

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// window is the part of a list that is asked for, in the query: ?limit=, ?after=
// and ?fields=.
type window struct {
	limit  int    // records at most; 0 is all
	after  string // the last one of the page before
	fields []string
}

// mostLimit is the most records that can be asked for by number.
const mostLimit = 100_000

// window reads the query. known tells the members that a record may have.
func (q *request) window(known func() []string) (w window, err error) {
	if q.http.URL.RawQuery == "" {
		return w, nil
	}
	query := q.http.URL.Query()
	w.after = query.Get("after")
	if s := query.Get("limit"); s != "" {
		if w.limit, err = strconv.Atoi(s); err != nil || w.limit < 1 || w.limit > mostLimit {
			return w, invalid(fmt.Sprintf("limit should be a number from 1 to %d, not %q", mostLimit, s))
		}
	}
	w.fields, err = fields(query, known)
	return w, err
}

// part reads the query of a single record, which has only ?fields=.
func (q *request) part(known func() []string) (w window, err error) {
	if q.http.URL.RawQuery != "" {
		w.fields, err = fields(q.http.URL.Query(), known)
	}
	return w, err
}

// fields reads ?fields=, members separated by commas.
func fields(query url.Values, known func() []string) ([]string, error) {
	s := query.Get("fields")
	if s == "" {
		return nil, nil
	}
	list, names := strings.Split(s, ","), known()
	if len(names) == 0 {
		return nil, invalid("fields: this is a list of names, which have no members")
	}
	for _, f := range list {
		if !slices.Contains(names, f) {
			return nil, invalid(fmt.Sprintf("fields: there is no %q (known: %s)", f, strings.Join(names, ", ")))
		}
	}
	return list, nil
}

// members are the names that the JSON of a T may have, in their order.
func members[T any]() []string { return memberNames(reflect.TypeFor[T]()) }

func memberNames(t reflect.Type) (names []string) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for _, n := range memberNames(f.Type) {
				if !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		case name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}

// only leaves of a record's JSON what is asked for.
func (w *window) only(record []byte) ([]byte, error) {
	if w.fields == nil {
		return record, nil
	}
	values := make([][]byte, len(w.fields))
	if err := eachMember(record, func(name, value []byte) {
		if i := slices.Index(w.fields, string(name)); i >= 0 {
			values[i] = value
		}
	}); err != nil {
		return nil, err
	}
	out := make([]byte, 1, 128)
	out[0] = '{'
	for i, f := range w.fields {
		if values[i] == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(strconv.AppendQuote(out, f), ':')
		out = append(out, values[i]...)
	}
	return append(out, '}'), nil
}

// more tells in a header where the next page is.
func (q *request) more(w window, last string) {
	query := q.http.URL.Query()
	query.Set("limit", strconv.Itoa(w.limit))
	query.Set("after", last)
	q.w.Header().Set("Link", "<"+q.http.URL.EscapedPath()+"?"+query.Encode()+`>; rel="next"`)
}

// listed answers with the part of a short list that is asked for. id is what
// ?after= says of a record.
func listed[T any](q *request, all []T, id func(T) string) (any, error) {
	w, err := q.window(members[T])
	if err != nil {
		return nil, err
	}
	if w.after != "" {
		i := slices.IndexFunc(all, func(v T) bool { return id(v) == w.after })
		if i < 0 {
			return nil, invalid(fmt.Sprintf("after: there is no %q in the list", w.after))
		}
		all = all[i+1:]
	}
	if w.limit > 0 && len(all) > w.limit {
		all = all[:w.limit]
		q.more(w, id(all[w.limit-1]))
	}
	if w.fields == nil {
		if all == nil {
			all = []T{}
		}
		return all, nil
	}
	records := make([][]byte, len(all))
	for i, v := range all {
		if records[i], err = encode(v); err == nil {
			records[i], err = w.only(records[i])
		}
		if err != nil {
			return nil, err
		}
	}
	return joined(records), nil
}

// partOf answers with one record, or the part of it that is asked for.
func partOf[T any](q *request, v T) (any, error) {
	w, err := q.part(members[T])
	if err != nil || w.fields == nil {
		return v, err
	}
	record, err := encode(v)
	if err == nil {
		record, err = w.only(record)
	}
	return raw(append(record, '\n')), err
}

// page reads some records of a long list, encoded, and says where the next ones
// are; "" at the end.
type page func(after string, limit int) (records [][]byte, next string, err error)

// pages answers with a long list as it is read, so that neither the caller waits
// for all of it nor the server holds all of it.
func (q *request) pages(w window, read page) (any, error) {
	sent := 0
	after := w.after
	for {
		size := pageSize
		if w.limit > 0 {
			size = min(size, w.limit-sent)
		}
		records, next, err := read(after, size)
		if err != nil {
			return nil, err
		}
		for i := range records {
			if records[i], err = w.only(records[i]); err != nil {
				return nil, err
			}
		}
		sent += len(records)
		last := next == "" || sent == w.limit
		if last && next != "" && !q.started {
			q.more(w, next)
		}
		if last && !q.started {
			return joined(records), nil
		}
		q.send(records, last)
		if last {
			return streamed(http.StatusOK), nil
		}
		if q.ctx().Err() != nil {
			return nil, errGone
		}
		after = next
	}
}

// send writes a piece of a list, in strides from memory that is used again: what is
// large enough goes past the connection's own buffer. An error of a write means that
// the caller has gone, which the context tells.
func (q *request) send(records [][]byte, last bool) {
	piece := strides.Get().(*[]byte)
	defer strides.Put(piece)
	out := (*piece)[:0]
	switch {
	case !q.started:
		q.started = true
		q.w.Header().Set("Content-Type", typeJSON)
		q.w.WriteHeader(http.StatusOK)
		out = append(out, '[')
	case len(records) > 0:
		out = append(out, ',')
	}
	for n, r := range records {
		if n > 0 {
			out = append(out, ',')
		}
		r = bytes.TrimSuffix(r, []byte("\n"))
		if len(out)+len(r) > stride {
			q.w.Write(out)
			out = out[:0]
		}
		if len(r) > stride {
			q.w.Write(r)
			continue
		}
		out = append(out, r...)
	}
	if last {
		out = append(out, "]\n"...)
	}
	q.w.Write(out)
}

// stride is how much of a list is written at once, bytes.
const stride = 64 << 10

// strides are buffers of a little more than that.
var strides = sync.Pool{New: func() any {
	b := make([]byte, 0, stride+len(",]\n"))
	return &b
}}

// joined makes a JSON list of encoded records.
func joined(records [][]byte) raw {
	size := len("[]\n") + len(records)
	for _, r := range records {
		size += len(r)
	}
	list := append(make(raw, 0, size), '[')
	for n, r := range records {
		if n > 0 {
			list = append(list, ',')
		}
		list = append(list, bytes.TrimSuffix(r, []byte("\n"))...)
	}
	return append(list, "]\n"...)
}
