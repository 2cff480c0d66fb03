// Package driver defines what a cloud needs of the host that runs its machines:
// a Hypervisor that runs them and Volumes that hold their disks.
//
// A driver knows tap names and disk paths; it knows nothing of networks, images,
// tenants or schedules. Machines are named by the caller's ID (a UUID). Facts
// about a driver are data (Info), never its name; an optional ability is a
// one-method interface found with As. Package drivertest proves an
// implementation right.
package driver

import (
	"context"
	"errors"
	"time"
)

// Errors of this package. Implementations wrap them; compare with errors.Is.
// A missing optional ability is errors.ErrUnsupported.
var (
	// ErrNotFound: no machine has this ID.
	ErrNotFound = errors.New("driver: no such machine")
	// ErrExists: a machine with this ID exists and differs from the one asked for.
	ErrExists = errors.New("driver: a different machine has this ID")
	// ErrInvalid: the Spec asks for something this driver cannot make; the text
	// says which field and what would be accepted. Retrying is useless.
	ErrInvalid = errors.New("driver: invalid machine")
	// ErrState: the machine is not in a state that allows the call (pausing one
	// that is off, say).
	ErrState = errors.New("driver: wrong machine state")
	// ErrPermanent: trying again gives the same result; somebody has to change
	// something first (an image that does not exist, or is not what it says).
	ErrPermanent = errors.New("driver: retrying is useless")
	// ErrNoSpace: the host has no room for what was asked.
	ErrNoSpace = errors.New("driver: no space left")
)

// Info is what a driver says of itself and its host.
type Info struct {
	Driver      string   // "qemu", "libvirt", "fake": for people, not for decisions
	Version     string   // of the emulator or daemon behind the driver
	Accel       string   // "kvm" or "tcg": what machines really run on, probed and not guessed
	AccelReason string   // why, in a sentence
	Buses       []string // disk buses it can make: "virtio", "scsi", "ide", "sata", "usb", "nvme"
	NICModels   []string // "virtio", "e1000", "rtl8139", …
	VideoModels []string // "cirrus", "vga", "qxl", "virtio", "none"
	UEFI        bool     // whether it can boot machines by UEFI
	CPUs        int      // of the host
	MemoryMiB   int      // of the host
	// Notes are shortcomings of this host that an operator should know ("no
	// cgroup: memory limits are not enforced"), a sentence each.
	Notes []string
}

// Spec is a machine as wanted. Two Specs that are equal describe the same machine.
type Spec struct {
	ID        string // a UUID, chosen by the caller
	Name      string // for people; also the machine's process or domain title
	CPUs      int
	MemoryMiB int
	Disks     []Disk // the first bootable one boots
	NICs      []NIC
	Video     Video
	UEFI      bool
	// Dir is a directory of the caller's for this machine's own files (console
	// log, sockets, NVRAM). The driver may create it and owns what it puts there.
	Dir string
}

// Disk is a block device backed by a file on this host.
type Disk struct {
	Device   string // as in the guest's bus order: "vda", "hdb"; unique in the machine
	Path     string
	Format   string // "qcow2" or "raw", stated and never probed
	Bus      string // one of Info.Buses
	CDROM    bool
	ReadOnly bool   // where a bus has no read-only disks (ide, sata) the guest sees a CD-ROM
	Serial   string // shown to the guest, at most 20 bytes; empty for none
}

// NIC is a network card whose other end is a tap device that already exists.
type NIC struct {
	Tap   string // interface name of the tap
	NetNS string // path of the network namespace file that holds the tap; empty means this process's own
	MAC   string // "02:00:00:ab:cd:ef"
	Model string // one of Info.NICModels
	MTU   int    // offered to the guest where the model can; 0 says nothing
}

// Video is a graphics card.
type Video struct {
	Model     string // one of Info.VideoModels
	MemoryKiB int
}

// State of a machine.
type State string

// States. Crashed is an end that neither the guest nor we asked for.
const (
	Defined State = "defined" // created, never started, or stopped by us or with the host
	Running State = "running"
	Paused  State = "paused"  // by us
	Stalled State = "stalled" // stopped by a disk error, usually a full disk; goes on when there is room
	Stopped State = "stopped" // ended by the guest itself
	Crashed State = "crashed"
)

// On reports whether the machine exists as a process with memory.
func (s State) On() bool { return s == Running || s == Paused || s == Stalled }

// Status is a machine as it is.
type Status struct {
	ID     string
	State  State
	Since  time.Time // of the last change of State, as far as known
	Reason string    // for states nobody asked for: what is known, for people
	PID    int       // of the emulator while On, 0 otherwise or if unknown
	// Boot counts the starts of this machine, so that two looks at a Running
	// machine tell whether it was restarted in between.
	Boot int64
	// Resets counts restarts of the guest that were no start: its own, and those by
	// Reset. One that happens while no driver is there is not counted.
	Resets int64
}

// StopMode says how to stop.
type StopMode int

const (
	// Graceful asks the guest (ACPI power button) and returns without waiting.
	Graceful StopMode = iota
	// Force ends the machine at once and returns when it is gone.
	Force
)

// Event is a hint that a machine changed: Inspect it. Events may be lost,
// repeated and late; List is the truth.
type Event struct {
	ID     string // of the machine; empty means "anything may have changed, List"
	State  State  // as far as known, else empty
	Reason string
}

// EventStream delivers hints, pulled by its one reader.
type EventStream interface {
	// Next waits for an event until ctx is done. What is ready is returned even
	// when ctx is already done.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// Hypervisor runs machines on this host. Methods are safe for concurrent use,
// for one machine too; each is bounded in time by ctx and by the driver's own
// limits. Machines outlive the process that started them: a new Hypervisor over
// the same host lists, controls and destroys what an earlier one started.
type Hypervisor interface {
	// Info describes the driver and the host. It may be slow the first time.
	Info(ctx context.Context) (Info, error)
	// Create defines a machine without starting it. The same Spec again is nil,
	// another one under the same ID is ErrExists, an impossible one ErrInvalid.
	Create(ctx context.Context, spec Spec) error
	// Start runs a defined or stopped machine; one that is on already is nil. It
	// returns when the virtual CPUs run.
	Start(ctx context.Context, id string) error
	// Stop ends a machine but keeps its definition; one that is off is nil.
	Stop(ctx context.Context, id string, mode StopMode) error
	// Destroy ends a machine at once and forgets its definition and the files the
	// driver put into Spec.Dir. Destroying what does not exist is nil.
	Destroy(ctx context.Context, id string) error
	// Inspect returns one machine, or ErrNotFound.
	Inspect(ctx context.Context, id string) (Status, error)
	// List returns every machine of this driver's on this host, also those an
	// earlier process started.
	List(ctx context.Context) ([]Status, error)
	// Events opens a stream of hints about all machines.
	Events(ctx context.Context) (EventStream, error)
	// Close lets go of the host. It stops no machine.
	Close() error
}
