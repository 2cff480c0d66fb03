package qemu

import (
	"fmt"
	"sync"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/token"
)

// machine is one definition and, while it is on, its session with a QEMU.
type machine struct {
	h  *Hypervisor
	id string

	uid int // the definition's; it never changes

	// op is the lock of operations: whoever changes the machine holds it, across
	// waits that are all bounded.
	op token.Token

	// saving serialises writes of state.json. It is taken before mu.
	saving sync.Mutex

	// mu guards what follows and is never held across a wait.
	mu        sync.Mutex
	def       definition
	rec       record
	undefined bool // not written yet, or destroyed
	unsaved   bool // the last write of rec failed
	session   *session
}

func newMachine(h *Hypervisor, def definition, rec record) *machine {
	return &machine{h: h, id: def.Spec.ID, uid: def.UID, op: token.New(), def: def, rec: rec}
}

// change edits the record, writes it and tells the world if the state changed.
// durable also survives a power failure.
func (m *machine) change(durable bool, edit func(*record)) error {
	return m.update(func(r *record) bool { edit(r); return durable })
}

// resave writes a record that could not be written when it changed.
func (m *machine) resave() {
	m.mu.Lock()
	unsaved := m.unsaved
	m.mu.Unlock()
	if unsaved {
		m.change(true, func(*record) {})
	}
}

// update is change where edit, which runs with mu held, decides of durability.
func (m *machine) update(edit func(*record) (durable bool)) error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	before := m.rec
	durable := edit(&m.rec)
	if m.rec.State != before.State || m.rec.Boot != before.Boot || m.rec.Since.IsZero() {
		m.rec.Since = m.h.cfg.Now()
	}
	after, idle := m.rec, m.undefined || m.rec == before && !m.unsaved
	m.mu.Unlock()
	if idle {
		return nil
	}
	err := m.h.reg.save(m.id, after, durable)
	m.mu.Lock()
	m.unsaved = err != nil
	m.mu.Unlock()
	if err != nil {
		m.h.cfg.Log.Error("cannot write a machine's state", "machine", m.id, "error", err)
		err = fmt.Errorf("state: %w", err)
	}
	m.h.events.Changed(before.status(m.id), after.status(m.id))
	return err
}

// record is a copy of the machine's record.
func (m *machine) record() record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec
}

// status is the machine for people; false when it is none (any more).
func (m *machine) status() (driver.Status, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.rec.status(m.id)
	if m.session != nil && s.State.On() {
		s.PID = m.session.child.PID
	}
	return s, !m.undefined
}

// on returns the session of a machine that is on, else ErrState.
func (m *machine) on(verb string) (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.undefined {
		return nil, driver.ErrNotFound
	}
	if m.session == nil {
		return nil, fmt.Errorf("cannot %s a machine that is %s: %w", verb, m.rec.State, driver.ErrState)
	}
	return m.session, nil
}

// spec is the machine's definition, which never changes.
func (m *machine) spec() driver.Spec {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.def.Spec
}
