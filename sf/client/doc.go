// Package client makes the calls of a cloud over its REST API.
//
// A Client has the methods of sf.Cloud that a remote caller may use, with the
// same records and the same classes of errors: errors.Is(err, spec.ErrNotFound)
// works on both. Creates and deletes record what is wanted and return; the Wait
// methods wait for it to be so.
//
// Tokens are got and renewed behind the scenes. Calls that are safe to repeat are
// repeated when the connection breaks; a create is, because each carries an
// idempotency key, where the server knows those. FollowEvents delivers what happens
// over as many connections as that takes. AtVersion binds requests to what was seen.
package client
