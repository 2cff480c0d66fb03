package libvirt

import (
	"context"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
)

// rebootWithin is how long after Reboot a shutdown of the guest means a new boot.
const rebootWithin = 5 * time.Minute

// withOn runs an operation on a machine that is on.
func (h *Hypervisor) withOn(ctx context.Context, id, verb string, act func(context.Context, *machine) error) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		if n := m.note(); !n.State.On() || !m.lastSeen().active() {
			return fmt.Errorf("cannot %s a machine that is %s: %w", verb, n.State, driver.ErrState)
		}
		return act(ctx, m)
	})
}

// Pause implements driver.Pauser. A stalled machine cannot be paused.
func (h *Hypervisor) Pause(ctx context.Context, id string) error {
	return h.withOn(ctx, id, "pause", func(ctx context.Context, m *machine) error {
		switch m.note().State {
		case driver.Paused:
			return nil
		case driver.Stalled:
			return fmt.Errorf("cannot pause a machine that is stalled: %w", driver.ErrState)
		}
		return m.thenSync(ctx, func(c *conn) error { return c.DomainSuspend(dom(m.id)) })
	})
}

// Resume implements driver.Pauser. A stalled machine tries its writes again.
func (h *Hypervisor) Resume(ctx context.Context, id string) error {
	return h.withOn(ctx, id, "resume", func(ctx context.Context, m *machine) error { return m.resume(ctx) })
}

func (m *machine) resume(ctx context.Context) error {
	if m.note().State == driver.Running {
		return nil
	}
	err := m.thenSync(ctx, func(c *conn) error { return c.DomainResume(dom(m.id)) })
	if code(err) == errInvalidOp && m.note().State == driver.Running {
		return nil // an earlier try went through, whose answer was lost with libvirtd
	}
	return err
}

// unstall lets a machine go on that had no room, unless somebody changed it since.
func (m *machine) unstall(ctx context.Context) error {
	if _, err := m.sync(ctx); err != nil || m.note().State != driver.Stalled {
		return err
	}
	return m.resume(ctx)
}

// Reset implements driver.Resetter.
func (h *Hypervisor) Reset(ctx context.Context, id string) error {
	return h.withOn(ctx, id, "reset", func(ctx context.Context, m *machine) error {
		m.expectReset(true)
		if err := m.thenSync(ctx, func(c *conn) error { return c.DomainReset(dom(m.id), 0) }); err != nil {
			m.expectReset(false)
			return err
		}
		return m.update(func(n note) note { n.Resets++; return n })
	})
}

// expectReset says whether the next event of a reset is of one that is counted
// already: libvirt's events do not tell whose it was.
func (m *machine) expectReset(expect bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = expect
}

// restarted notes an event of a reset.
func (m *machine) restarted() {
	m.update(func(n note) note {
		if !m.told {
			n.Resets++
		}
		m.told = false
		return n
	})
}

// Reboot implements driver.Rebooter: the power button is pressed, and if the
// guest shuts down within five minutes it is started again.
func (h *Hypervisor) Reboot(ctx context.Context, id string) error {
	return h.withOn(ctx, id, "reboot", func(ctx context.Context, m *machine) error {
		return m.press(ctx, h.cfg.Now().Add(rebootWithin))
	})
}

// press presses the power button; rebootBy, written down first, decides what the
// shutdown will mean.
func (m *machine) press(ctx context.Context, rebootBy time.Time) error {
	via := m.h.via()
	if err := m.update(func(n note) note { n.RebootBy, n.RebootVia = rebootBy, via; return n }); err != nil {
		return err
	}
	return m.thenSync(ctx, func(c *conn) error {
		return c.DomainShutdownFlags(dom(m.id), golibvirt.DomainShutdownAcpiPowerBtn)
	})
}

// thenSync runs one call and looks at what became of the machine. One that ended
// under the call is ErrState.
func (m *machine) thenSync(ctx context.Context, f func(*conn) error) error {
	err := m.h.call(ctx, m.h.cfg.Timeout, f)
	_, looked := m.sync(ctx)
	if code(err) == errInvalidOp && !m.lastSeen().active() {
		return fmt.Errorf("the machine ended meanwhile: %w: %w", driver.ErrState, err)
	}
	if err != nil {
		return err
	}
	return looked
}
