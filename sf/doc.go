// Package sf is a small cloud as a library: instances (virtual machines),
// virtual networks, addresses and images, over a store, a hypervisor and a network
// fabric that its caller picks.
//
// Open returns a Cloud. Its methods record what is wanted, each in one
// transaction, and return; the Wait methods wait for it to be so. Where Config
// has a Node, the cloud also runs instances on this host: a level-triggered agent
// drives the host towards what is recorded, from whatever state it is in. So
// killing the process at any moment loses nothing, and deleting is legal in every
// state.
//
// Errors are *Error values of a few classes (ErrNotFound, ErrInvalid, …), the
// same over the library and over the REST API.
package sf
