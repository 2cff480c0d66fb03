package libvirt

import (
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// What a machine is called, from what we noted and what libvirt says.
func TestJudge(t *testing.T) {
	early, now := time.Unix(1000, 0), time.Unix(2000, 0)
	on := note{State: driver.Running, Since: early, Boot: 3, BootID: "this"}
	with := func(n note, change func(*note)) note { change(&n); return n }
	running, off := seen{state: domRunning}, func(reason int32) seen { return seen{domShutoff, reason} }
	tests := []struct {
		name   string
		note   note
		seen   seen
		busy   bool
		state  driver.State
		reason string
		boot   int64
		moved  bool // Since is now
		todo   deed
	}{
		{name: "runs", note: on, seen: running, state: driver.Running, boot: 3},
		{name: "blocked is running", note: on, seen: seen{state: domBlocked}, state: driver.Running, boot: 3},
		{name: "paused", note: on, seen: seen{state: domPaused, reason: 1}, state: driver.Paused, boot: 3, moved: true},
		{name: "goes on", note: with(on, func(n *note) { n.State = driver.Paused }), seen: running, state: driver.Running, boot: 3, moved: true},
		{name: "no room", note: with(on, func(n *note) { n.Hint = "vda: no space left" }), seen: seen{domPaused, pausedIOError},
			state: driver.Stalled, reason: "vda: no space left", boot: 3, moved: true},
		{name: "disk error without an event", note: on, seen: seen{domPaused, pausedIOError}, state: driver.Stalled, reason: "disk error", boot: 3, moved: true},
		{name: "the guest shut down", note: on, seen: off(offShutdown), state: driver.Stopped, reason: "the guest shut down", boot: 3, moved: true},
		{name: "shutdown in answer to Reboot", note: with(on, func(n *note) { n.RebootBy = now.Add(1) }), seen: off(offShutdown),
			state: driver.Running, boot: 3, todo: startAgain},
		{name: "shutdown long after Reboot", note: with(on, func(n *note) { n.RebootBy = now }), seen: off(offShutdown),
			state: driver.Stopped, reason: "the guest shut down", boot: 3, moved: true},
		{name: "crash in spite of Reboot", note: with(on, func(n *note) { n.RebootBy = now.Add(1) }), seen: off(offCrashed),
			state: driver.Crashed, reason: "the emulator ended unexpectedly", boot: 3, moved: true},
		{name: "shutdown in answer to Reboot, while libvirtd was away", seen: off(offCrashed),
			note:  with(on, func(n *note) { n.RebootBy, n.RebootVia = now.Add(1), "another" }),
			state: driver.Running, boot: 3, todo: startAgain},
		{name: "a start that was given up ends", seen: seen{state: domShutdown},
			note:  with(on, func(n *note) { n.Starting, n.Verdict = true, &verdict{State: driver.Defined} }),
			state: driver.Running, boot: 3},
		{name: "the guest shuts down", note: on, seen: seen{state: domShutdown}, state: driver.Running, boot: 3},
		{name: "a reboot's start was interrupted", seen: off(offFailed),
			note:  with(on, func(n *note) { n.Starting, n.RebootBy = true, now.Add(1) }),
			state: driver.Running, boot: 3, todo: startAgain},
		{name: "a reboot's start was interrupted for too long", seen: off(offFailed),
			note:  with(on, func(n *note) { n.Starting, n.RebootBy = true, now }),
			state: driver.Defined, reason: "its start was interrupted", boot: 3, moved: true},
		{name: "told to end from the host", note: with(on, func(n *note) { n.Hint = "a signal" }), seen: off(offShutdown),
			state: driver.Crashed, reason: "a signal", boot: 3, moved: true},
		{name: "ended by us", note: with(on, func(n *note) { n.Verdict = &verdict{State: driver.Defined} }), seen: off(offCrashed),
			state: driver.Defined, boot: 3, moved: true},
		{name: "ended by virsh", note: on, seen: off(offDestroyed), state: driver.Defined, boot: 3, moved: true},
		{name: "crashed", note: on, seen: off(offCrashed), state: driver.Crashed, reason: "the emulator ended unexpectedly", boot: 3, moved: true},
		{name: "panicked", note: on, seen: seen{state: domCrashed}, state: driver.Crashed, reason: "the guest crashed", boot: 3, moved: true},
		{name: "ended unseen", note: on, seen: off(0), state: driver.Crashed,
			reason: "the emulator ended while neither libvirt nor we watched", boot: 3, moved: true},
		{name: "the host restarted", note: with(on, func(n *note) { n.BootID = "earlier" }), seen: off(0),
			state: driver.Defined, reason: "the host restarted", boot: 3, moved: true},
		{name: "still off", note: with(on, func(n *note) { n.State, n.Reason = driver.Stopped, "the guest shut down" }), seen: off(offDestroyed),
			state: driver.Stopped, reason: "the guest shut down", boot: 3},
		{name: "started by virsh", note: with(on, func(n *note) { n.State = driver.Stopped }), seen: running, state: driver.Running, boot: 4, moved: true},
		{name: "our start, not noted to its end", note: with(on, func(n *note) { n.State, n.Starting = driver.Defined, true }), seen: running,
			state: driver.Running, boot: 4, moved: true},
		{name: "our start under way", note: with(on, func(n *note) { n.State, n.Starting = driver.Defined, true }), busy: true,
			seen: seen{state: domPaused}, state: driver.Defined, boot: 3},
		{name: "a start that nobody goes on with", note: with(on, func(n *note) { n.State, n.Starting = driver.Defined, true }),
			seen: seen{state: domPaused}, state: driver.Defined, boot: 3, todo: abort},
		{name: "a start that came to nothing", note: with(on, func(n *note) { n.State, n.Starting = driver.Defined, true }), seen: off(offFailed),
			state: driver.Defined, reason: "its start was interrupted", boot: 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := moment{now: now, bootID: "this", busy: tt.busy}
			got, todo := judge(tt.note, tt.seen, at)
			if got.State != tt.state || got.Reason != tt.reason || got.Boot != tt.boot || todo != tt.todo || got.Since.Equal(now) != tt.moved {
				t.Errorf("got %+v, deed %d", got, todo)
			}
			if todo == nothing && !tt.busy {
				if !tt.seen.active() && (got.Starting || got.Verdict != nil || !got.RebootBy.IsZero() || got.Hint != "") {
					t.Errorf("a machine that is off keeps %+v", got)
				}
				if again, todo := judge(got, tt.seen, moment{now: now.Add(time.Hour), bootID: "this"}); again != got || todo != nothing {
					t.Errorf("asked again: %+v, deed %d; first %+v", again, todo, got)
				}
			}
		})
	}
}
