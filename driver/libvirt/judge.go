package libvirt

import (
	"time"

	"github.com/shakenfist/cloud/driver"
)

// note is what we keep of a machine beside libvirt's own knowledge.
type note struct {
	State  driver.State `json:"state"`
	Since  time.Time    `json:"since"`
	Reason string       `json:"reason,omitempty"`
	Boot   int64        `json:"boot"`
	Resets int64        `json:"resets,omitempty"`
	// Starting is set from before a start until its virtual CPUs run.
	Starting bool `json:"starting,omitempty"`
	// BootID is the host's boot in which the machine was last started.
	BootID string `json:"boot_id,omitempty"`
	// Verdict is what the machine will be called once it is off, whatever libvirt
	// says of the reason.
	Verdict *verdict `json:"verdict,omitempty"`
	// RebootBy is until when a shutdown of the guest means a new boot.
	RebootBy time.Time `json:"reboot_by,omitzero"`
	// RebootVia is the libvirtd that pressed the button for it.
	RebootVia string `json:"reboot_via,omitempty"`
	// Held is set while libvirt locks the domain without end (errHeld): the next start
	// has to get it rid of that.
	Held bool `json:"held,omitempty"`
	// Hint is what an event told of an end or an error that came with it.
	Hint string `json:"hint,omitempty"`
}

// status is the note for people.
func (n note) status(id string) driver.Status {
	return driver.Status{ID: id, State: n.State, Since: n.Since, Reason: n.Reason, Boot: n.Boot, Resets: n.Resets}
}

type verdict struct {
	State  driver.State `json:"state"`
	Reason string       `json:"reason,omitempty"`
}

// seen is a domain as libvirt reports it, in its own numbers.
type seen struct{ state, reason int32 }

// States and reasons of libvirt's public interface (libvirt-domain.h).
const (
	domRunning     = 1
	domBlocked     = 2
	domPaused      = 3
	domShutdown    = 4 // still there
	domShutoff     = 5
	domCrashed     = 6
	domPMSuspended = 7

	pausedIOError = 5

	offShutdown  = 1
	offDestroyed = 2
	offCrashed   = 3
	offFailed    = 6
	offDaemon    = 8
)

// active reports whether there is a QEMU.
func (s seen) active() bool { return s.state != domShutoff && s.state != domCrashed }

// deed is what a judgement asks for.
type deed int

const (
	nothing    deed = iota
	startAgain      // the guest shut down for a reboot
	abort           // a start that nobody works on any more
)

// moment is when and where a judgement is made.
type moment struct {
	now    time.Time
	bootID string // of the host
	via    string // the libvirtd that is asked
	busy   bool   // one of our own calls is starting the machine
}

// judge decides what a machine is, from what we noted, what libvirt says, and
// nothing else. The same question has the same answer, so after a crash it is
// simply asked again.
func judge(n note, s seen, at moment) (note, deed) {
	if n.Starting && at.busy {
		return n, nothing
	}
	next, todo := decide(n, s, at)
	if !s.active() && todo == nothing {
		next.Starting, next.Verdict, next.RebootBy, next.RebootVia, next.Hint = false, nil, time.Time{}, "", ""
	}
	if next.State != n.State || next.Boot != n.Boot {
		next.Since = at.now
	}
	return next, todo
}

func decide(n note, s seen, at moment) (note, deed) {
	switch s.state {
	case domShutdown:
		if n.Starting { // it is being put away, or was quick; the end will tell
			return n, nothing
		}
		fallthrough
	case domRunning, domBlocked, domPMSuspended:
		if n.Starting || !n.State.On() { // by somebody else, or by us and not noted
			n.Boot, n.BootID, n.Starting, n.Verdict = n.Boot+1, at.bootID, false, nil
		}
		n.State, n.Reason = driver.Running, ""
		return n, nothing
	case domPaused:
		return paused(n, s, at)
	}
	return ended(n, s, at)
}

func paused(n note, s seen, at moment) (note, deed) {
	switch {
	case n.Starting:
		return n, abort
	case !n.State.On():
		n.Boot, n.BootID, n.Verdict = n.Boot+1, at.bootID, nil
	}
	if s.reason == pausedIOError {
		n.State, n.Reason = driver.Stalled, n.Hint
		if n.Reason == "" {
			n.Reason = "disk error"
		}
		return n, nothing
	}
	n.State, n.Reason = driver.Paused, ""
	return n, nothing
}

// ended is a domain without a QEMU.
func ended(n note, s seen, at moment) (note, deed) {
	be := func(state driver.State, reason string) (note, deed) {
		n.State, n.Reason = state, reason
		return n, nothing
	}
	switch {
	case !n.State.On():
		if n.Starting {
			n.Reason = "its start was interrupted"
		}
		return n, nothing
	case n.BootID != "" && n.BootID != at.bootID:
		return be(driver.Defined, "the host restarted")
	case n.Verdict != nil:
		return be(n.Verdict.State, n.Verdict.Reason)
	case n.Starting && n.RebootBy.After(at.now):
		return n, startAgain
	case n.Starting:
		return be(driver.Defined, "its start was interrupted")
	case s.state == domShutoff && s.reason == offDestroyed:
		return be(driver.Defined, "")
	case s.state == domShutoff && s.reason == offShutdown && n.Hint != "":
		return be(driver.Crashed, n.Hint)
	case s.state == domShutoff && n.RebootBy.After(at.now) && (s.reason == offShutdown || unseen(n, s, at)):
		return n, startAgain
	case s.state == domShutoff && s.reason == offShutdown:
		return be(driver.Stopped, "the guest shut down")
	}
	return be(driver.Crashed, crashReason(s))
}

// unseen reports whether this may be the shutdown that Reboot asked for: a libvirtd
// that was started since then has not seen it, and calls it a crash.
func unseen(n note, s seen, at moment) bool {
	return s.reason == offCrashed && n.Hint == "" && n.RebootVia != at.via
}

func crashReason(s seen) string {
	switch {
	case s.state == domCrashed:
		return "the guest crashed"
	case s.reason == offCrashed:
		return "the emulator ended unexpectedly"
	case s.reason == offFailed, s.reason == offDaemon:
		return "libvirt lost the emulator"
	}
	return "the emulator ended while neither libvirt nor we watched"
}
