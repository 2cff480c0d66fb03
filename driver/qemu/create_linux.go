package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/room"
)

// Create implements driver.Hypervisor.
func (h *Hypervisor) Create(ctx context.Context, spec driver.Spec) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	p, err := h.probe(ctx)
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	if err := driver.Check(spec, p.Info); err != nil {
		return fmt.Errorf("qemu: machine %s: %w", spec.ID, err)
	}
	if err := checkSlots(spec); err != nil {
		return fmt.Errorf("qemu: machine %s: %w", spec.ID, err)
	}
	spec.Disks, spec.NICs = slices.Clone(spec.Disks), slices.Clone(spec.NICs)
	for {
		m, made, err := h.reserve(spec)
		if err != nil {
			return fmt.Errorf("qemu: machine %s: %w", spec.ID, err)
		}
		if err := m.op.Take(ctx); err != nil {
			return fmt.Errorf("qemu: machine %s: %w", spec.ID, err)
		}
		again, err := m.define(spec, made)
		m.op.Give()
		if again {
			continue // it was destroyed while we waited
		}
		if err != nil {
			return fmt.Errorf("qemu: machine %s: %w", spec.ID, err)
		}
		return nil
	}
}

// reserve finds or makes the entry of a machine, with a user ID of its own. A new
// one is not listed before define has written it.
func (h *Hypervisor) reserve(spec driver.Spec) (*machine, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[spec.ID]; m != nil {
		return m, false, nil
	}
	uid, err := h.freeUID()
	if err != nil {
		return nil, false, err
	}
	m := newMachine(h, definition{Spec: spec, UID: uid}, record{State: driver.Defined})
	m.undefined = true
	h.machines[spec.ID] = m
	return m, true, nil
}

// freeUID is the lowest that no machine has, and under which nothing runs on this host:
// another driver may have been given the same range, and a user's processes may end and
// look into each other. h.mu is held.
func (h *Hypervisor) freeUID() (int, error) {
	if os.Geteuid() != 0 || h.cfg.UIDBase < 0 {
		return 0, nil
	}
	used, err := running()
	if err != nil {
		return 0, err
	}
	for _, m := range h.machines {
		used[m.uid] = true
	}
	for uid := h.cfg.UIDBase; uid < h.cfg.UIDBase+h.cfg.UIDCount; uid++ {
		if !used[uid] {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("all %d user IDs from %d are taken (see Config.UIDCount)", h.cfg.UIDCount, h.cfg.UIDBase)
}

// define writes a new definition, or compares with the one there is. again says
// that the machine was destroyed meanwhile.
func (m *machine) define(spec driver.Spec, made bool) (again bool, err error) {
	m.mu.Lock()
	def, undefined := m.def, m.undefined
	m.mu.Unlock()
	switch {
	case !undefined && !def.Spec.Equal(spec):
		return false, driver.ErrExists
	case !undefined:
		return false, nil
	case !made:
		return true, nil
	}
	defer func() {
		if err != nil {
			m.h.reg.remove(m.id)
			m.h.forget(m)
			if def.MadeDir {
				os.Remove(spec.Dir)
			}
		}
	}()
	if _, err := os.Stat(spec.Dir); err != nil {
		def.MadeDir = true
	}
	if err := os.MkdirAll(filepath.Dir(spec.Dir), 0o755); err != nil {
		return false, room.Mark(err)
	}
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return false, room.Mark(err)
	}
	if err := m.h.reg.create(def); err != nil {
		return false, room.Mark(err)
	}
	m.mu.Lock()
	m.def, m.undefined = def, false
	m.mu.Unlock()
	return false, m.change(true, func(r *record) { r.State = driver.Defined })
}
