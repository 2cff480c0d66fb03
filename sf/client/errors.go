package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"syscall"

	"github.com/shakenfist/cloud/sf/spec"
)

// Error is an answer of the server that is not a success. It wraps a *spec.Error
// of the class that the server had, so errors.Is works as it does in process.
type Error struct {
	Status int    // of HTTP
	Body   string // as it came
	Told   bool   // whether the server named the class, which those of 0.2 don't
	// Request is by what the server's log has the request; empty where it does not tell.
	Request string
	Err     *spec.Error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error as the server had it.
func (e *Error) Unwrap() error { return e.Err }

// newError decodes an answer that is not a success.
func newError(status int, body []byte) *Error {
	var b struct {
		Error, Message, Class, Kind, ID string
	}
	e := &Error{Status: status, Body: strings.TrimSpace(string(body))}
	if json.Unmarshal(body, &b) != nil || b.Error == "" {
		b.Error = b.Message
	}
	if b.Error == "" {
		b.Error = e.Body
	}
	e.Told = b.Class != ""
	e.Err = &spec.Error{Class: classOf(status, b.Class, b.Error), Kind: b.Kind, ID: b.ID, Text: b.Error}
	return e
}

// classOf finds the class of an answer: by its name, or where the server does not
// tell, which those of 0.2 don't, by status and text.
func classOf(status int, name, text string) error {
	for _, c := range spec.Classes {
		if c.Name == name {
			return c.Err
		}
	}
	if strings.HasPrefix(text, "you cannot delete a namespace with ") || strings.Contains(text, "in use network") {
		return spec.ErrInUse
	}
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusMethodNotAllowed:
		return spec.ErrInvalid
	case http.StatusUnauthorized:
		return spec.ErrUnauthorized
	case http.StatusForbidden:
		return spec.ErrForbidden
	case http.StatusNotFound:
		return spec.ErrNotFound
	case http.StatusConflict:
		return spec.ErrConflict
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return spec.ErrUnavailable
	case http.StatusGatewayTimeout:
		return spec.ErrTimeout
	case http.StatusInsufficientStorage:
		return spec.ErrNoCapacity
	}
	return nil
}

// broken is the error of a request that got no answer.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if stranger := (strangerError{}); errors.As(err, &stranger) {
		return stranger.error.About("server", c.cfg.URL)
	}
	return spec.Errorf(spec.ErrUnavailable, "no answer from %s%s", c.cfg.URL, hint(err)).Because(err)
}

// refusedConnection reports whether nobody listens, which asking again at once
// does not change.
func refusedConnection(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
