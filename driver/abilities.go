package driver

import (
	"context"
	"io"
)

// Unwrapper is implemented by decorators, so that As finds what they wrap.
type Unwrapper interface{ Unwrap() Hypervisor }

// As returns the ability T of a hypervisor, looking through decorators.
func As[T any](h Hypervisor) (T, bool) {
	for {
		if t, ok := h.(T); ok {
			return t, true
		}
		u, ok := h.(Unwrapper)
		if !ok {
			var zero T
			return zero, false
		}
		h = u.Unwrap()
	}
}

// Pauser can stop a machine's virtual CPUs and let them go on. Pausing a paused
// machine and resuming a running one are nil; a machine that is off is ErrState.
type Pauser interface {
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

// Resetter can reset a running machine at once, like its reset button.
type Resetter interface {
	Reset(ctx context.Context, id string) error
}

// Rebooter can ask a guest to restart itself: a power button press whose
// shutdown ends in a new boot. It returns when the guest has been asked.
type Rebooter interface {
	Reboot(ctx context.Context, id string) error
}

// Consoler gives the serial console of a machine.
type Consoler interface {
	// Console opens the serial port, both ways, from now on. Several may be open;
	// a slow reader loses output rather than blocks the machine. It ends with
	// io.EOF when the machine stops. ErrState when the machine is off.
	Console(ctx context.Context, id string) (io.ReadWriteCloser, error)
	// ConsoleLog reads the console log at an absolute offset of the bytes ever
	// written, and returns the log's end. A negative offset counts from the end.
	// What was written is kept across boots up to a limit of the driver's; an
	// offset whose bytes are gone reads from the oldest kept. A read that does not
	// fill p reached the end, so what it returned began at end-n.
	ConsoleLog(ctx context.Context, id string, offset int64, p []byte) (n int, end int64, err error)
}

// Displayer gives the graphical screen of a machine.
type Displayer interface {
	// Display opens one viewer's connection to the machine's screen, speaking VNC
	// (RFB). Several may be open. ErrState when the machine is off, ErrInvalid
	// when it has no screen (video model "none").
	Display(ctx context.Context, id string) (io.ReadWriteCloser, error)
}

// Snapshotter copies disks of a machine that is on, all as they are at one
// moment, while it runs and without changing what it runs on.
type Snapshotter interface {
	// Snapshot begins a job that copies disks into new files, flattened: each target
	// is a qcow2 of its own when the job is done. It returns when the moment of the
	// copy is fixed. The same job again is nil, also for a later process. ErrState
	// when the machine is off.
	Snapshot(ctx context.Context, id, job string, targets []SnapshotTarget) error
	// SnapshotJob says how far a job is; when it has ended with success its files are
	// whole and on disk. ErrNotFound for one that was never begun,
	// was ended by EndSnapshot, or is lost with its machine's process.
	SnapshotJob(ctx context.Context, id, job string) (JobStatus, error)
	// EndSnapshot stops a job where it still runs, and forgets it. Ending one that
	// does not exist is nil. The target files are the caller's to keep or remove.
	EndSnapshot(ctx context.Context, id, job string) error
}

// SnapshotTarget says which disk is copied where.
type SnapshotTarget struct {
	Device string // as in Disk
	Path   string // of a file to be made, whose directory exists
}

// JobStatus is how far a job is, in bytes over all its targets.
type JobStatus struct {
	Ended bool  // it is over: with success where Err is nil
	Err   error // why it failed
	Done  int64
	Total int64
}

// Stater tells what a machine has used since it was started. A machine that is off
// is ErrState.
type Stater interface {
	Stats(ctx context.Context, id string) (Stats, error)
}

// Stats are counters since a machine's start.
type Stats struct {
	CPUNanoseconds int64 // of host CPU, over all threads
	MemoryBytes    int64 // resident now
	ReadBytes      int64 // from disks
	WrittenBytes   int64 // to disks
	ReceivedBytes  int64 // by NICs
	SentBytes      int64 // by NICs
}
