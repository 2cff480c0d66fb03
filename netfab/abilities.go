package netfab

import (
	"context"
	"net"
	"time"
)

// Unwrapper is implemented by decorators, so that As finds what they wrap.
type Unwrapper interface{ Unwrap() Fabric }

// As returns the ability T of a fabric, looking through decorators.
func As[T any](f Fabric) (T, bool) {
	for f != nil {
		if ability, ok := f.(T); ok {
			return ability, true
		}
		wrapped, ok := f.(Unwrapper)
		if !ok {
			break
		}
		f = wrapped.Unwrap()
	}
	var none T
	return none, false
}

// Keeper is the ability to fence the routers of a host (Outside.Fenced): a
// dead-man's switch that works without this process.
type Keeper interface {
	// Keep lets the fenced routers of this host work for d from the moment of the
	// call, whatever was said before; d of zero or less stops them at once. What
	// Apply builds later, it keeps for what is left: call it before the Apply that
	// makes routers, whose announcements are lost while they are not kept. It waits
	// for no Apply at work, and is nil where nothing is fenced.
	//
	// A router that is not kept neither forwards nor answers outside, not even for
	// connections that exist. Inside it goes on: guests on its own host would reach
	// no other router before the fabric there is applied anew, and others have been
	// pointed elsewhere by then.
	Keep(ctx context.Context, d time.Duration) error
}

// Watcher is the ability to notice that somebody else changes what is ours.
type Watcher interface {
	// Changed waits until something of this fabric may have been changed on the
	// host by other hands since it was last called (or since the fabric was opened),
	// and forgets what was remembered of it: call Apply then. Many changes at once
	// are one. What Apply does itself is none; a false alarm now and then is allowed.
	// One call at a time. Errors other than the context's mean that changes
	// may have been missed, and can be retried.
	Changed(ctx context.Context) error
}

// Listener is the ability to serve a network's guests on this host at the
// router's address.
type Listener interface {
	// Listen opens UDP and TCP port 53 of the router's address within a network that
	// wants DNS. Guests of other hosts and the world do not reach it. Both end,
	// with net.ErrClosed, when the network is removed. ErrNotFound when the network
	// is not applied here with DNS. Of what a port sends faster than any guest needs to,
	// some is lost.
	Listen(ctx context.Context, networkID string) (net.PacketConn, net.Listener, error)
}

// Owned is one thing on the host that belongs, or seems to belong, to a fabric.
type Owned struct {
	// Kind and Name say what it is, as an operator would look for it: "namespace
	// sf-1a2b3c-00002a", "device sfo-1a2b3c", "table inet sf-1a2b3c".
	Kind, Name string
	// Tag is the owner's, read from the mark that the thing carries; empty where it
	// carries none and is known by its name alone.
	Tag string
	// Network is the ID of the network that it serves, where it serves one.
	Network string
	// Part is what it is in a fabric of that tag; empty where such a fabric has no
	// part for it, as for a table of another name.
	Part Part
	// Why says by what it is known to be somebody's.
	Why string
}

// Part is what a thing is in a fabric.
type Part string

// Parts. The last three are the host's as a whole.
const (
	PartNetwork Part = "network" // a network's namespace
	PartRouter  Part = "router"  // the outer end of a network's router
	PartOutside Part = "outside" // the segment where routers meet the world, and its rules
	PartFence   Part = "fence"   // of fenced routers (Outside.Fenced)
	PartShared  Part = "shared"  // what other hosts share of the segment (Routed)
)

// Inventor is the ability to list what exists on the host of all fabrics, this
// one's and others', whatever is wanted.
type Inventor interface {
	// Inventory lists it, sorted by Tag, Kind and Name.
	Inventory(ctx context.Context) ([]Owned, error)
	// Remove removes one thing that Inventory listed under this fabric's tag, with all
	// that is in it, in use or not. Its mark is read again first: what is gone is nil;
	// what has become something else, or is not of this tag, is ErrForeign.
	Remove(ctx context.Context, thing Owned) error
}
