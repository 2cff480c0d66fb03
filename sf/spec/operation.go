package spec

import "time"

// KindSnapshot and KindOperation are sorts of objects too.
const (
	KindSnapshot  Kind = "snapshot"
	KindOperation Kind = "operation"
)

// OperationKind is what an operation does to its instance.
type OperationKind string

// Operations on an instance, which happen once and in order, unlike power, which
// is a state to be in.
const (
	OpReboot   OperationKind = "reboot"   // ask the guest to restart itself
	OpReset    OperationKind = "reset"    // the reset button
	OpSnapshot OperationKind = "snapshot" // copy its disks
)

// OperationState is how far an operation is.
type OperationState string

// States of an operation. The last three are ends.
const (
	OperationPending     OperationState = "pending"
	OperationStarted     OperationState = "started"
	OperationDone        OperationState = "done"
	OperationFailed      OperationState = "failed"
	OperationInterrupted OperationState = "interrupted" // begun, and its outcome is not known: it is never done twice
)

// Ended reports whether nothing more will happen.
func (s OperationState) Ended() bool {
	return s == OperationDone || s == OperationFailed || s == OperationInterrupted
}

// Operation is something to be done once to an instance, by its node.
type Operation struct {
	ID        string        `json:"id"` // sorts by age among the instance's operations
	Instance  string        `json:"instance"`
	Namespace string        `json:"namespace"`
	Kind      OperationKind `json:"kind"`
	Node      string        `json:"node"`               // where the instance was
	Snapshot  string        `json:"snapshot,omitempty"` // UUID of the snapshot to be made
	Created   time.Time     `json:"created"`
	Deadline  time.Time     `json:"deadline"` // it fails where it has not ended by then

	Status OperationStatus `json:"-"`
}

// OperationStatus is how far an operation is, written by the instance's node.
type OperationStatus struct {
	State OperationState `json:"state"`
	Since time.Time      `json:"since"` // of the last change of State
	Error string         `json:"error,omitempty"`
	Done  int64          `json:"done,omitempty"`  // bytes, of a snapshot
	Total int64          `json:"total,omitempty"` // bytes
	Boots int64          `json:"boots,omitempty"` // of the guest before it was asked to restart
	Asked bool           `json:"asked,omitempty"` // the guest was asked to restart
}

// Snapshot is a copy of disks of an instance as they were at one moment. It is
// kept on the node that the instance was on, and outlives the instance.
type Snapshot struct {
	UUID      string    `json:"uuid"`
	Instance  string    `json:"instance"`
	Namespace string    `json:"namespace"`
	Node      string    `json:"node"`
	Created   time.Time `json:"created"`
	Devices   []string  `json:"devices"` // "vda", …
	Deletion  *Deletion `json:"deletion,omitempty"`

	Status SnapshotStatus `json:"-"`
}

// SnapshotStatus is a snapshot as it is, written by its node.
type SnapshotStatus struct {
	State State          `json:"state"` // creating, created or error
	Since time.Time      `json:"since"`
	Error string         `json:"error,omitempty"`
	Files []SnapshotFile `json:"files,omitempty"` // once created
}

// SnapshotFile is one disk in a snapshot, a qcow2 image of its own.
type SnapshotFile struct {
	Device      string `json:"device"`
	Size        int64  `json:"size"`         // bytes of the file
	VirtualSize int64  `json:"virtual_size"` // bytes, as a guest sees it
}

// CachedImage is an image in a node's cache.
type CachedImage struct {
	ID          string    `json:"id"` // digest of the content
	Names       []string  `json:"names"`
	Node        string    `json:"node"`
	Format      string    `json:"format"`
	CDROM       bool      `json:"cdrom"`
	Size        int64     `json:"size"`         // bytes it occupies
	VirtualSize int64     `json:"virtual_size"` // bytes, as a guest sees it
	Used        time.Time `json:"used"`
	Users       int       `json:"users"` // disks laid over it
}
