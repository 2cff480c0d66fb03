package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// complain says why a command failed: on standard output, in the seed's words;
// on standard error where the output is a file's content.
func (a *app) complain(err error) {
	if a.piping {
		fmt.Fprintln(a.errOut, "ERROR: "+complaint(err))
		return
	}
	if errors.Is(err, errNoNamespace) {
		fmt.Fprintln(a.out, "Namespace not found")
		return
	}
	fmt.Fprintln(a.out, "ERROR: "+complaint(err))
}

func complaint(err error) string {
	reply := (*client.Error)(nil)
	if !errors.As(err, &reply) {
		if errors.Is(err, context.Canceled) {
			return "Interrupted; what was asked for goes on"
		}
		if e := (*spec.Error)(nil); errors.As(err, &e) && e.Class == spec.ErrUnavailable {
			return "Unable to connect to server: " + err.Error()
		}
		return err.Error()
	}
	switch reply.Status {
	case 400:
		return "Malformed Request: " + reply.Error()
	case 401:
		return "Not authorized"
	case 403:
		return "Cannot delete resource: " + reply.Error()
	case 404:
		return "Resource not found: " + reply.Error()
	case 409:
		return "Resource in use: " + reply.Error()
	case 500:
		if errors.Is(err, spec.ErrFailed) {
			return reply.Error() // not the server's fault, and it says what is wrong
		}
		return "Internal Server Error: " + reply.Body
	case 507:
		return "Insufficient Resources: " + reply.Error()
	}
	return fmt.Sprintf("The server answered with status %d: %v", reply.Status, reply)
}
