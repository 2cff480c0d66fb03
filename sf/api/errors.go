package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// statuses maps every class of error to its HTTP status, as the seed's clients
// know them. A fault overrides it where the seed did something else.
var statuses = []struct {
	class  error
	status int
	// says is what the text must contain, because clients look for it; where it
	// does not, it goes in front.
	says string
}{
	{spec.ErrInvalid, http.StatusBadRequest, ""},
	{spec.ErrUnauthorized, http.StatusUnauthorized, ""},
	{spec.ErrForbidden, http.StatusForbidden, ""},
	{spec.ErrInUse, http.StatusForbidden, ""},
	{spec.ErrNotFound, http.StatusNotFound, "not found"},
	{spec.ErrConflict, http.StatusConflict, ""},
	{spec.ErrFailed, http.StatusInternalServerError, ""},
	{spec.ErrUnavailable, http.StatusServiceUnavailable, ""},
	{spec.ErrTimeout, http.StatusGatewayTimeout, ""},
	{spec.ErrNoCapacity, http.StatusInsufficientStorage, "insufficient capacity"},
}

// fault is an error whose status and text are fixed.
type fault struct {
	status int
	class  error
	text   string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.class }

func invalid(text string) error   { return &fault{http.StatusBadRequest, spec.ErrInvalid, text} }
func notFound(text string) error  { return &fault{http.StatusNotFound, spec.ErrNotFound, text} }
func forbidden(text string) error { return &fault{http.StatusForbidden, spec.ErrForbidden, text} }
func unauthorized(text string) error {
	return &fault{http.StatusUnauthorized, spec.ErrUnauthorized, text}
}

// refused is what a known caller gets who may not do something: 401, as in the
// seed. Its class tells our own client that another token would not help.
func refused(text string) error { return &fault{http.StatusUnauthorized, spec.ErrForbidden, text} }

// Refusals that several handlers use.
var (
	errInstanceNotFound  = notFound("instance not found")
	errNetworkNotFound   = notFound("network not found")
	errInterfaceNotFound = notFound("interface not found")
	errSnapshotNotFound  = notFound("snapshot not found")
	errImageNotFound     = notFound("image not found")
	errNoNamespace       = notFound("namespace does not exist")
	errForeignNamespace  = refused("only admins can create resources in a different namespace")
)

// errGone ends a request whose caller has hung up; nobody reads the answer.
var errGone = errors.New("the caller has gone")

// statusGone is logged for such a request.
const statusGone = 499

// failureBody is an error as it goes over the wire. Clients of the seed read the
// first two members.
type failureBody struct {
	Error  string `json:"error"`
	Status int    `json:"status"`
	Class  string `json:"class,omitempty"` // name of the class, from spec.Classes
	Kind   string `json:"kind,omitempty"`  // of the object that the error is about
	ID     string `json:"id,omitempty"`    // of that object
}

// describe returns err as it goes over the wire. An error without a class is
// internal: its text is for the log, and the body names the request to look for.
func describe(err error, requestID string) failureBody {
	var b failureBody
	if f := (*fault)(nil); errors.As(err, &f) {
		b.Status, b.Error = f.status, f.text
	}
	class := spec.ClassOf(err)
	for _, s := range statuses {
		if b.Status != 0 || s.class != class {
			continue
		}
		b.Status, b.Error = s.status, err.Error()
		if !strings.Contains(b.Error, s.says) {
			b.Error = s.says + ": " + b.Error
		}
	}
	if b.Status == 0 {
		b.Status, b.Error = http.StatusInternalServerError, "server error (the log has the cause, under request "+requestID+")"
	}
	for _, c := range spec.Classes {
		if c.Err == class {
			b.Class = c.Name
		}
	}
	if e := (*spec.Error)(nil); errors.As(err, &e) {
		b.Kind, b.ID = e.Kind, e.ID
	}
	return b
}

// or returns err, but the given error instead where err is of its class.
func or(err, instead error) error {
	if err == nil {
		return nil
	}
	if class := spec.ClassOf(instead); class != nil && spec.ClassOf(err) == class {
		return instead
	}
	return err
}
