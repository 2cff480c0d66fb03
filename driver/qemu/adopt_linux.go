package qemu

import (
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/host"
)

// adopt meets the QEMU that a machine's record names. It returns a channel that
// is closed when that has been tried, or nil when there is none to meet. Where it
// cannot be found out whether there is one, nothing is concluded: who took the
// machine for crashed would start a second QEMU over its disks, or remove them.
func (m *machine) adopt() (<-chan struct{}, error) {
	if m.rec.Process == nil {
		if m.rec.State.On() {
			m.conclude("the emulator's record was lost")
		}
		return nil, nil
	}
	boot, err := host.BootID()
	if err != nil {
		return nil, err
	}
	id := *m.rec.Process
	if id.BootID != boot {
		m.h.cleanup(m.id)
		m.change(false, func(r *record) {
			if r.Verdict == nil {
				r.Verdict = &verdict{driver.Defined, "the host restarted"}
			}
		})
		m.conclude("")
		return nil, nil
	}
	if id.PID == 0 {
		if id, err = search(m.h.reg.path(m.id, "qemu.log")); err != nil {
			return nil, err
		}
	}
	c, err := find(id)
	if err != nil {
		return nil, err
	}
	if c == nil {
		m.h.cleanup(m.id)
		m.conclude("the emulator ended while nobody watched")
		return nil, nil
	}
	s := newSession(m, c)
	m.mu.Lock()
	m.session = s
	m.mu.Unlock()
	m.h.calls.Go(s.run)
	return s.met, nil
}
