package qemu

import (
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/host"
)

// adopt meets the QEMU that a machine's record names. It returns a channel that
// is closed when that has been tried, or nil when there is none to meet.
func (m *machine) adopt() <-chan struct{} {
	if m.rec.Process == nil {
		if m.rec.State.On() {
			m.conclude("the emulator's record was lost")
		}
		return nil
	}
	boot, err := host.BootID()
	id := *m.rec.Process
	if err == nil && id.BootID != boot {
		m.h.cleanup(m.id)
		m.change(false, func(r *record) {
			if r.Verdict == nil {
				r.Verdict = &verdict{driver.Defined, "the host restarted"}
			}
		})
		m.conclude("")
		return nil
	}
	if id.PID == 0 {
		id, _ = search(m.h.reg.path(m.id, "qemu.log"))
	}
	c, err := find(id)
	if err != nil {
		m.h.cfg.Log.Error("cannot adopt a machine", "machine", m.id, "pid", id.PID, "error", err)
	}
	if c == nil {
		m.h.cleanup(m.id)
		m.conclude("the emulator ended while nobody watched")
		return nil
	}
	s := newSession(m, c)
	m.mu.Lock()
	m.session = s
	m.mu.Unlock()
	m.h.calls.Go(s.run)
	return s.met
}
