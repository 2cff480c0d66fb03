package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
	typeHTML = "text/html"
)

const notFoundPage = `<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<title>404 Not Found</title>
<h1>Not Found</h1>
<p>There is no such URL on this server.</p>
`

// encode returns v as JSON with a newline. Characters that matter in HTML only
// stay as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// answer writes a handler's reply or error and returns the status for the log.
func (q *request) answer(reply any, err error) int {
	if err != nil {
		return q.fail(err)
	}
	switch v := reply.(type) {
	case streamed:
		return int(v)
	case text:
		return q.write(http.StatusOK, typeText, v)
	case raw:
		return q.write(http.StatusOK, typeJSON, v)
	}
	body, err := encode(reply)
	if err != nil {
		return q.fail(err)
	}
	return q.write(http.StatusOK, typeJSON, body)
}

// fail writes an error.
func (q *request) fail(err error) int {
	q.err = err
	if errors.Is(err, errGone) || q.ctx().Err() != nil && errors.Is(err, q.ctx().Err()) {
		return statusGone
	}
	b := q.describe(err)
	if q.started { // half a list is out, which the caller must not take for whole
		q.broken = true
		return b.Status
	}
	body, _ := encode(b) // strings and a number
	return q.write(b.Status, typeJSON, body)
}

// describe returns an error as it goes over the wire, and logs one that is internal.
func (q *request) describe(err error) failureBody {
	b := describe(err, q.id)
	if b.Class == "" {
		q.Logger.Error("internal error", "request", q.id, "method", q.http.Method, "path", q.http.URL.Path, "err", err)
	}
	return b
}

func (q *request) unknownURL() int {
	return q.write(http.StatusNotFound, typeHTML, []byte(notFoundPage))
}

func (q *request) unknownMethod(m methods) int {
	q.w.Header().Set("Allow", m.allow())
	return q.write(http.StatusMethodNotAllowed, typeJSON, []byte(`{"message": "The method is not allowed for the requested URL."}`+"\n"))
}

func (q *request) write(status int, contentType string, body []byte) int {
	h := q.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(status)
	q.w.Write(body) // an error means that the caller has gone
	return status
}
