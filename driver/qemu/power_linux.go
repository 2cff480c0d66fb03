package qemu

import (
	"context"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/consolelog"
	"github.com/shakenfist/cloud/driver/internal/room"
)

// rebootWithin is how long after Reboot a shutdown of the guest means a new boot.
const rebootWithin = 5 * time.Minute

// messagesLimit is how many bytes of QEMU's own messages are kept.
const messagesLimit = 256 << 10

// Pause implements driver.Pauser. A stalled machine cannot be paused.
func (h *Hypervisor) Pause(ctx context.Context, id string) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("pause")
		if err != nil {
			return err
		}
		switch m.record().State {
		case driver.Paused:
			return nil
		case driver.Stalled:
			return fmt.Errorf("cannot pause a machine that is stalled: %w", driver.ErrState)
		}
		return s.thenSync(ctx, "stop")
	})
}

// Resume implements driver.Pauser. A stalled machine tries its writes again.
func (h *Hypervisor) Resume(ctx context.Context, id string) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("resume")
		if err != nil || m.record().State == driver.Running {
			return err
		}
		return s.thenSync(ctx, "cont")
	})
}

// Reset implements driver.Resetter.
func (h *Hypervisor) Reset(ctx context.Context, id string) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("reset")
		if err != nil {
			return err
		}
		if err := s.execute(ctx, "system_reset", nil); err != nil {
			return err
		}
		return s.change(restarted)
	})
}

// restarted counts a new boot of the guest in the same process.
func restarted(r *record) { r.Resets++ }

// Reboot implements driver.Rebooter: the power button is pressed, and if the
// guest shuts down within five minutes it is started again in the same process.
func (h *Hypervisor) Reboot(ctx context.Context, id string) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("reboot")
		if err != nil {
			return err
		}
		return m.press(ctx, s, h.cfg.Now().Add(rebootWithin))
	})
}

// press presses the power button; rebootBy, written down first, decides what the
// shutdown will mean.
func (m *machine) press(ctx context.Context, s *session, rebootBy time.Time) error {
	if err := s.change(func(r *record) { r.RebootBy = rebootBy }); err != nil {
		return err
	}
	return s.execute(ctx, "system_powerdown", nil)
}

// thenSync runs a command and records the state it led to, with one question for
// both it and the event that it causes.
func (s *session) thenSync(ctx context.Context, command string) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	if err := s.execute(ctx, command, nil); err != nil {
		return err
	}
	return s.query(ctx)
}

// keepHouse bounds the logs and lets a machine that a full disk stalled go on when
// all its file systems have room. Only one that nobody else is busy with.
func (m *machine) keepHouse() {
	m.resave()
	m.mu.Lock()
	s, def, rec := m.session, m.def, m.rec
	m.mu.Unlock()
	if s == nil {
		return
	}
	for path, limit := range map[string]int64{
		consoleLog(def.Spec): m.h.cfg.ConsoleLimit, m.h.reg.path(m.id, "qemu.log"): messagesLimit,
	} {
		if err := consolelog.Bound(path, limit); err != nil {
			m.h.cfg.Log.Warn("cannot bound a log", "machine", m.id, "error", err)
		}
	}
	if rec.State != driver.Stalled || !s.wantsRoom() || !room.For(def.Spec) {
		return
	}
	if m.op.Try() {
		defer m.op.Give()
		s.retry(m.h.calls.Context(), rec.Boot)
	}
}

// retry lets a stalled machine go on, unless the user has resumed, stopped or
// restarted it since; the machine's lock is held.
func (s *session) retry(ctx context.Context, boot int64) {
	if now := s.m.record(); now.State == driver.Stalled && now.Boot == boot {
		s.thenSync(ctx, "cont")
	}
}

// afterJob lets a machine go on that a failed copy has stalled. Before a guest may
// overwrite what is not copied yet that is copied; where the target takes no more,
// QEMU 7 fails the guest's write for it. Once the job has ended, it succeeds.
func (s *session) afterJob() {
	ctx, cancel := s.m.h.bounded(s.m.h.calls.Context())
	defer cancel()
	if s.m.op.Take(ctx) != nil {
		return
	}
	defer s.m.op.Give()
	if s.sync(ctx) == nil && room.For(s.m.spec()) {
		s.retry(ctx, s.m.record().Boot)
	}
}
