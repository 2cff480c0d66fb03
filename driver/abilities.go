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
