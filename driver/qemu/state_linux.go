package qemu

import (
	"context"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// sync asks for the state and records it, and acts where a state asks for it.
func (s *session) sync(ctx context.Context) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	return s.query(ctx)
}

// hinted is sync unless all hints so far have been answered.
func (s *session) hinted(ctx context.Context) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.answered == s.hints.Load() {
		return nil
	}
	return s.query(ctx)
}

// query is sync with asking held.
func (s *session) query(ctx context.Context) error {
	hints := s.hints.Load()
	var reply struct{ Status string }
	if err := s.execute(ctx, "query-status", &reply); err != nil {
		return err
	}
	err := s.act(ctx, reply.Status)
	if err == nil {
		s.answered = hints
	}
	return err
}

// act records a state and does what it asks for.
func (s *session) act(ctx context.Context, status string) error {
	switch status {
	case "running", "suspended":
		return s.is(driver.Running, "")
	case "paused":
		return s.is(driver.Paused, "")
	case "io-error":
		return s.is(driver.Stalled, s.diskError(ctx))
	case "shutdown":
		return s.down(ctx)
	case "prelaunch":
		return s.unborn(ctx)
	case "internal-error", "guest-panicked":
		s.verdict(driver.Crashed, "the emulator stopped with "+status)
		return s.child.kill()
	}
	return nil // passing through
}

func (s *session) is(state driver.State, reason string) error {
	return s.change(func(r *record) { r.State, r.Reason = state, reason })
}

// verdict decides what the machine will be called when its process is gone. The
// first one stands. It need not survive a power failure: the process does not.
func (s *session) verdict(state driver.State, reason string) error {
	return s.change(func(r *record) {
		if r.Verdict == nil {
			r.Verdict = &verdict{state, reason}
		}
	})
}

// change edits the record as long as it is about this session's process: what
// was learned of one that is gone by now must not touch the next.
func (s *session) change(edit func(*record)) error {
	return s.m.change(false, func(r *record) {
		if s.m.session == s {
			edit(r)
		}
	})
}

// down is a guest that shut itself down, in a QEMU that waits for us; or a QEMU
// that somebody else ends, which needs no help and is no doing of the guest's.
func (s *session) down(ctx context.Context) error {
	s.mu.Lock()
	byHost := strings.HasPrefix(s.hint, "host-")
	s.mu.Unlock()
	if byHost {
		return nil
	}
	s.m.mu.Lock()
	reboot := s.m.rec.RebootBy.After(s.m.h.cfg.Now()) && s.m.rec.Verdict == nil
	s.m.mu.Unlock()
	if reboot {
		if err := s.execute(ctx, "system_reset", nil); err != nil {
			return err
		}
		return s.reborn(ctx)
	}
	s.verdict(driver.Stopped, "the guest shut down")
	if s.execute(ctx, "quit", nil) != nil {
		return s.child.kill()
	}
	return nil
}

func (s *session) reborn(ctx context.Context) error {
	s.mu.Lock()
	s.hint = ""
	s.mu.Unlock()
	if err := s.execute(ctx, "cont", nil); err != nil {
		return err
	}
	return s.change(func(r *record) {
		r.State, r.Reason, r.RebootBy = driver.Running, "", time.Time{}
		r.Boot++
	})
}

// unborn is a QEMU that was started or reset but never told to run, because the
// process that should have told it ended in between.
func (s *session) unborn(ctx context.Context) error {
	s.m.mu.Lock()
	reboot := !s.m.rec.RebootBy.IsZero() && s.m.rec.Verdict == nil
	s.m.mu.Unlock()
	if reboot {
		return s.reborn(ctx)
	}
	s.verdict(driver.Defined, "its start was interrupted")
	return s.child.kill()
}

// diskError says which disk stopped the machine, and notes whether room would help.
func (s *session) diskError(ctx context.Context) string {
	var blocks []struct {
		Device   string `json:"qdev"`
		IOStatus string `json:"io-status"`
	}
	s.execute(ctx, "query-block", &blocks)
	text, full := "disk error", false
	for _, b := range blocks {
		switch b.IOStatus {
		case "nospace":
			text, full = b.Device+": no space left on the host", true
		case "failed":
			text = b.Device + ": write error"
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
	return text
}

func (s *session) wantsRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// ending says for people how a process ended that nobody asked to.
func (s *session) ending(how string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := "the emulator ended"
	if how != "" {
		text += ": " + how
	}
	if s.hint != "" {
		text += ", " + s.hint
	}
	return text
}

// conclude records that a machine is off: by the verdict on it, or as crashed for
// the reason given. An end that was not ours is kept even over a power failure,
// lest somebody starts again what a guest shut down.
func (m *machine) conclude(otherwise string) error {
	return m.update(func(r *record) (durable bool) {
		v := r.Verdict
		if v == nil {
			v = &verdict{driver.Crashed, otherwise}
		}
		m.session = nil
		r.State, r.Reason = v.State, v.Reason
		r.Process, r.Verdict, r.RebootBy = nil, nil, time.Time{}
		return v.State != driver.Defined
	})
}
