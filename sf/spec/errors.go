package spec

import (
	"errors"
	"fmt"
)

// Classes of failure. Compare with errors.Is; they survive the REST API both
// ways, so that a remote caller uses the same comparisons.
var (
	// ErrNotFound: the object does not exist, or is not the caller's to see.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the request can never succeed as it is; the text names the field.
	ErrInvalid = errors.New("invalid")
	// ErrConflict: something else holds what was asked for, or the same
	// idempotency key came with another request.
	ErrConflict = errors.New("conflict")
	// ErrInUse: the object cannot go while others need it.
	ErrInUse = errors.New("in use")
	// ErrNoCapacity: no node can take it now; the text says why not, node by node.
	ErrNoCapacity = errors.New("insufficient capacity")
	// ErrUnauthorized: who is asking is not known, or the key is wrong.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden: the caller is known and may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrUnavailable: a part of the cloud cannot be reached; trying again helps.
	ErrUnavailable = errors.New("unavailable")
	// ErrTimeout: what was waited for has not happened in time. It may yet happen.
	ErrTimeout = errors.New("timed out")
	// ErrFailed: the object ended in its error state; the text says why.
	ErrFailed = errors.New("failed")
)

// Classes lists every class with its stable name, as used on the wire.
var Classes = []struct {
	Name string
	Err  error
}{
	{"not-found", ErrNotFound}, {"invalid", ErrInvalid}, {"conflict", ErrConflict},
	{"in-use", ErrInUse}, {"no-capacity", ErrNoCapacity}, {"unauthorized", ErrUnauthorized},
	{"forbidden", ErrForbidden}, {"unavailable", ErrUnavailable}, {"timeout", ErrTimeout},
	{"failed", ErrFailed},
}

// Error is a failure as people read it, with its class and the object it is about.
type Error struct {
	Class error  // one of the classes above
	Kind  string // "instance", "network", …; empty if none
	ID    string // UUID or name of the object; empty if none
	Text  string // a sentence: what happened and what to do
	Cause error  // what lies below, if anything
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Text + ": " + e.Cause.Error()
	}
	return e.Text
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Cause}
}

// Errorf returns an Error of a class.
func Errorf(class error, format string, args ...any) *Error {
	return &Error{Class: class, Text: fmt.Sprintf(format, args...)}
}

// About names the object that the error is about and returns e.
func (e *Error) About(kind, id string) *Error {
	e.Kind, e.ID = kind, id
	return e
}

// Because adds the cause and returns e.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

// ClassOf returns the class of err, or nil where it has none.
func ClassOf(err error) error {
	for _, c := range Classes {
		if errors.Is(err, c.Err) {
			return c.Err
		}
	}
	return nil
}
