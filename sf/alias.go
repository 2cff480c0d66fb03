package sf

import (
	"context"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// The nouns, defined in package spec.
type (
	Kind          = spec.Kind
	State         = spec.State
	Wait          = spec.Wait
	Metadata      = spec.Metadata
	Event         = spec.Event
	Namespace     = spec.Namespace
	Key           = spec.Key
	Node          = spec.Node
	Capacity      = spec.Capacity
	NetworkSpec   = spec.NetworkSpec
	Network       = spec.Network
	InterfaceSpec = spec.InterfaceSpec
	Interface     = spec.Interface
	InstanceSpec  = spec.InstanceSpec
	Instance      = spec.Instance
	Disk          = spec.Disk
	Video         = spec.Video
	Power         = spec.Power
	PowerState    = spec.PowerState
	Operation     = spec.Operation
	Snapshot      = spec.Snapshot
	CachedImage   = spec.CachedImage
	Error         = spec.Error
)

// Clock is time and waiting. Config.Clock replaces the machine's.
type Clock interface {
	// Now is what time it is. How long something has taken is the difference of two of
	// them, which clocks that are set meanwhile spoil unless both have what package time
	// calls a monotonic reading.
	Now() time.Time
	// Wait returns nil when wake delivers or is closed, or d has passed, and ctx's
	// error when that is done first. A negative d is no limit; a nil wake never
	// delivers.
	Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) error
}

// Kinds of objects.
const (
	KindNamespace = spec.KindNamespace
	KindNetwork   = spec.KindNetwork
	KindInstance  = spec.KindInstance
	KindInterface = spec.KindInterface
	KindNode      = spec.KindNode
	KindSnapshot  = spec.KindSnapshot
	KindOperation = spec.KindOperation
)

// Well-known names.
const (
	System          = spec.System
	FloatingNetwork = spec.FloatingNetwork
)

// States of instances and networks.
const (
	StateInitial  = spec.StateInitial
	StateCreating = spec.StateCreating
	StateCreated  = spec.StateCreated
	StateError    = spec.StateError
	StateDeleting = spec.StateDeleting
	StateDeleted  = spec.StateDeleted
)

// Power states.
const (
	PowerInitial = spec.PowerInitial
	PowerOn      = spec.PowerOn
	PowerOff     = spec.PowerOff
	PowerPaused  = spec.PowerPaused
	PowerCrashed = spec.PowerCrashed
)

// Classes of errors; compare with errors.Is.
var (
	ErrNotFound     = spec.ErrNotFound
	ErrInvalid      = spec.ErrInvalid
	ErrConflict     = spec.ErrConflict
	ErrInUse        = spec.ErrInUse
	ErrNoCapacity   = spec.ErrNoCapacity
	ErrUnauthorized = spec.ErrUnauthorized
	ErrForbidden    = spec.ErrForbidden
	ErrUnavailable  = spec.ErrUnavailable
	ErrTimeout      = spec.ErrTimeout
	ErrFailed       = spec.ErrFailed
)
