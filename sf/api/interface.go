package api

import (
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

// getInterface shows an interface. One that is gone is still shown until it is
// forgotten, as in the seed.
func (q *request) getInterface() (any, error) { return partOf(q, wireInterface(q.nic)) }

// float gives the interface an address of the floating network. The record has it
// when the answer goes out; the router takes it up within moments.
func (q *request) float() (any, error) {
	if q.nic.State == spec.StateDeleted {
		return nil, q.noInterface()
	}
	_, err := q.cloud.Float(q.lasting(), q.nic.UUID, "")
	return nil, or(err, q.noInterface())
}

func (q *request) defloat() (any, error) {
	return nil, or(q.cloud.Defloat(q.lasting(), q.nic.UUID), q.noInterface())
}

// noInterface is what the seed says of an interface that does not exist, in other
// words where it is to be changed.
func (q *request) noInterface() error {
	if q.route.method == http.MethodPost {
		return notFound("network interface not found")
	}
	return errInterfaceNotFound
}
