package fake

import (
	"context"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/events"
)

// Hypervisor is a handle on a Host. It has every optional ability.
type Hypervisor struct {
	host    *Host
	closed  atomic.Bool
	streams []*events.Stream // that were opened here; the Host's lock guards them
}

var (
	_ driver.Hypervisor = (*Hypervisor)(nil)
	_ driver.Pauser     = (*Hypervisor)(nil)
	_ driver.Resetter   = (*Hypervisor)(nil)
	_ driver.Rebooter   = (*Hypervisor)(nil)
	_ driver.Consoler   = (*Hypervisor)(nil)
	_ driver.Displayer  = (*Hypervisor)(nil)
)

// Hypervisor opens the host's hypervisor. Each call is one more handle on the
// same machines, as a daemon gets that is started again.
func (h *Host) Hypervisor() *Hypervisor { return &Hypervisor{host: h} }

// do runs one call: faults before it, the act under the host's lock, faults after.
func (v *Hypervisor) do(ctx context.Context, method, id string, act func(h *Host) error) error {
	if v.closed.Load() {
		return fmt.Errorf("fake: hypervisor: %w", fs.ErrClosed)
	}
	return v.host.call(ctx, method, id, func() error { return act(v.host) })
}

// with is do for the methods that need the machine to exist.
func (v *Hypervisor) with(ctx context.Context, method, id string, act func(m *machine) error) error {
	return v.do(ctx, method, id, func(h *Host) error {
		m := h.machines[id]
		if m == nil {
			return fmt.Errorf("fake: machine %s: %w", id, driver.ErrNotFound)
		}
		return act(m)
	})
}

// Info implements driver.Hypervisor.
func (v *Hypervisor) Info(ctx context.Context) (info driver.Info, err error) {
	err = v.do(ctx, "Info", "", func(h *Host) error { info = h.cfg.Info; return nil })
	return info, err
}

// Create implements driver.Hypervisor.
func (v *Hypervisor) Create(ctx context.Context, spec driver.Spec) error {
	return v.do(ctx, "Create", spec.ID, func(h *Host) error {
		if m := h.machines[spec.ID]; m != nil {
			if !m.spec.Equal(spec) {
				return fmt.Errorf("fake: machine %s: %w", spec.ID, driver.ErrExists)
			}
			return nil
		}
		if err := driver.Check(spec, h.cfg.Info); err != nil {
			return err
		}
		m := &machine{host: h, spec: copySpec(spec), status: driver.Status{ID: spec.ID}}
		h.machines[spec.ID] = m
		m.change(driver.Defined, "")
		return nil
	})
}

func copySpec(s driver.Spec) driver.Spec {
	s.Disks = append([]driver.Disk(nil), s.Disks...)
	s.NICs = append([]driver.NIC(nil), s.NICs...)
	return s
}

// Start implements driver.Hypervisor.
func (v *Hypervisor) Start(ctx context.Context, id string) error {
	return v.with(ctx, "Start", id, func(m *machine) error {
		if !m.status.State.On() {
			m.boot()
		}
		return nil
	})
}

// Stop implements driver.Hypervisor. An obedient guest is gone when it returns.
func (v *Hypervisor) Stop(ctx context.Context, id string, mode driver.StopMode) error {
	return v.with(ctx, "Stop", id, func(m *machine) error {
		switch {
		case !m.status.State.On():
		case mode == driver.Force:
			m.end(driver.Defined, "")
		default:
			m.press(false)
		}
		return nil
	})
}

// Destroy implements driver.Hypervisor.
func (v *Hypervisor) Destroy(ctx context.Context, id string) error {
	return v.do(ctx, "Destroy", id, func(h *Host) error {
		m := h.machines[id]
		if m == nil {
			return nil
		}
		m.end(driver.Defined, "destroyed")
		delete(h.machines, id)
		return nil
	})
}

// Inspect implements driver.Hypervisor.
func (v *Hypervisor) Inspect(ctx context.Context, id string) (s driver.Status, err error) {
	err = v.with(ctx, "Inspect", id, func(m *machine) error { s = m.status; return nil })
	return s, err
}

// List implements driver.Hypervisor. It is sorted by ID.
func (v *Hypervisor) List(ctx context.Context) (all []driver.Status, err error) {
	err = v.do(ctx, "List", "", func(h *Host) error {
		for _, m := range h.sorted() {
			all = append(all, m.status)
		}
		return nil
	})
	return all, err
}

// Pause implements driver.Pauser.
func (v *Hypervisor) Pause(ctx context.Context, id string) error {
	return v.with(ctx, "Pause", id, func(m *machine) error {
		switch m.status.State {
		case driver.Paused:
			return nil
		case driver.Running:
			m.change(driver.Paused, "")
			return nil
		}
		return wrongState(m, "pause")
	})
}

// Resume implements driver.Pauser.
func (v *Hypervisor) Resume(ctx context.Context, id string) error {
	return v.with(ctx, "Resume", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "resume")
		}
		if m.status.State == driver.Paused || m.status.State == driver.Stalled && !m.host.vol.full {
			m.change(driver.Running, "")
		}
		return nil
	})
}

// Reset implements driver.Resetter: the guest boots again, in the same process.
func (v *Hypervisor) Reset(ctx context.Context, id string) error {
	return v.with(ctx, "Reset", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "reset")
		}
		m.reset()
		return nil
	})
}

// Reboot implements driver.Rebooter. An obedient guest has restarted when it returns.
func (v *Hypervisor) Reboot(ctx context.Context, id string) error {
	return v.with(ctx, "Reboot", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "reboot")
		}
		m.press(true)
		return nil
	})
}

func wrongState(m *machine, verb string) error {
	return fmt.Errorf("fake: cannot %s machine %s, which is %s: %w", verb, m.spec.ID, m.status.State, driver.ErrState)
}

// Close implements driver.Hypervisor. Its event streams end.
func (v *Hypervisor) Close() error {
	if v.closed.Swap(true) {
		return nil
	}
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	for _, s := range v.streams {
		s.Close()
	}
	return nil
}
