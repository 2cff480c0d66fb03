package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/pflag"
)

// complain says why a command failed: on standard output, in the seed's words;
// on standard error where the output is a file's content.
func (a *app) complain(err error) {
	if a.format == asJSON && errors.As(err, new(toldError)) {
		return
	}
	if a.piping {
		fmt.Fprintln(a.errOut, "ERROR: "+a.complaint(err))
		return
	}
	if errors.Is(err, errNoNamespace) {
		fmt.Fprintln(a.out, "Namespace not found")
		return
	}
	fmt.Fprintln(a.out, a.paint("ERROR:", red)+" "+a.complaint(err))
}

// toldError is a failure that what was printed as JSON tells already: a sentence after
// it would spoil it.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

func (a *app) complaint(err error) string {
	reply := (*client.Error)(nil)
	if errors.As(err, &reply) {
		return a.answered(reply)
	}
	e := (*spec.Error)(nil)
	errors.As(err, &e)
	switch {
	case errors.Is(err, context.Canceled):
		return "Interrupted; what was asked for goes on"
	case errors.Is(err, context.DeadlineExceeded) && e != nil: // it says what has not happened
		return "Timed out: " + e.Text + "; what was asked for goes on"
	case errors.Is(err, context.DeadlineExceeded):
		return "Timed out; what was asked for goes on"
	case errors.Is(err, spec.ErrUnavailable):
		return "Unable to connect to server: " + err.Error()
	case errors.Is(err, spec.ErrNotFound):
		return "Resource not found: " + err.Error()
	case errors.Is(err, spec.ErrNoCapacity):
		return "Insufficient Resources: " + err.Error()
	}
	return err.Error()
}

// answered is what to say of an answer that is not a success.
func (a *app) answered(reply *client.Error) string {
	switch reply.Status {
	case 400:
		return "Malformed Request: " + reply.Error()
	case 401:
		return a.unauthorized(reply)
	case 403:
		return "Cannot delete resource: " + reply.Error()
	case 404:
		return "Resource not found: " + reply.Error()
	case 409:
		return "Resource in use: " + reply.Error()
	case 500:
		if errors.Is(reply, spec.ErrFailed) {
			return reply.Error() // not the server's fault, and it says what is wrong
		}
		return "Internal Server Error: " + reply.Body
	case 507:
		return "Insufficient Resources: " + reply.Error()
	}
	return fmt.Sprintf("The server answered with status %d: %v", reply.Status, reply)
}

// unauthorized begins as ever. Servers of 0.2 don't tell more.
func (a *app) unauthorized(reply *client.Error) string {
	const text = "Not authorized"
	switch {
	case !reply.Told:
		return text
	case !errors.Is(reply, spec.ErrForbidden):
		return fmt.Sprintf("%s: the key is not one of namespace %q", text, a.as)
	case reply.Error() == "unauthorized":
		return fmt.Sprintf("%s: only the namespace system may do this, and this is %q", text, a.as)
	}
	return text + ": " + reply.Error()
}

// sentence is what is wrong with a command line, in words.
func sentence(err error) string {
	names, ok := strings.CutPrefix(err.Error(), "if any flags in the group [")
	if names, _, found := strings.Cut(names, "]"); ok && found {
		return "--" + strings.Join(strings.Fields(names), " and --") + " exclude each other: give one of them"
	}
	if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
		if takes := takes[bad.GetFlag().Value.Type()]; takes != "" {
			return fmt.Sprintf("--%s takes %s, not %q", bad.GetFlag().Name, takes, bad.GetValue())
		}
	}
	return err.Error()
}

// takes is what options of a type take, in words.
var takes = map[string]string{
	"int64": "a whole number", "duration": "a time like 90s or 5m", "bool": "true or false",
}
