package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
)

// politely is how long libvirt may take to end a QEMU before we kill it.
const politely = 2 * time.Second

// Start implements driver.Hypervisor.
func (h *Hypervisor) Start(ctx context.Context, id string) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error { return m.start(ctx) })
}

// start runs a machine that is off; op is held. It is begun with its virtual CPUs
// stopped, so that its taps are where they belong before it sends anything.
func (m *machine) start(ctx context.Context) error {
	if m.note().State.On() && m.lastSeen().active() {
		return nil
	}
	if m.lastSeen().active() { // of a start that was cut short
		if err := m.kill(ctx); err != nil {
			return err
		}
	}
	spec := m.spec()
	text, taps, err := m.prepare(ctx, spec)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer taps.close()
	err = m.begin(true)
	if err == nil {
		err = m.launch(ctx, text, taps)
	}
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.h.cfg.Timeout)
		defer cancel()
		err = fmt.Errorf("start: %w", noRoom(err))
		return errors.Join(err, m.kill(clean), taps.remove(), m.begin(false))
	}
	return nil
}

// launch takes a domain to running virtual CPUs.
func (m *machine) launch(ctx context.Context, text string, taps *taps) error {
	held := m.note().Held
	err := m.h.call(ctx, m.h.cfg.StartTimeout, func(c *conn) error {
		if err := taps.make(); err != nil {
			return errOurs{err}
		}
		if held {
			if err := forget(c, m.id); err != nil {
				return err
			}
		}
		if _, err := c.DomainDefineXMLFlags(text, 0); err != nil {
			return err
		}
		_, err := c.DomainCreateWithFlags(dom(m.id), uint32(golibvirt.DomainStartPaused))
		if code(err) == errInvalidOp && isActive(c, m.id) { // our last try went through
			return nil
		}
		held = code(err) == errTimedOut
		return err
	})
	if err != nil {
		return err
	}
	if err := taps.place(); err != nil {
		return err
	}
	err = m.h.call(ctx, m.h.cfg.Timeout, func(c *conn) error { return c.DomainResume(dom(m.id)) })
	if err != nil {
		return err
	}
	return m.update(func(n note) note {
		m.busy = false
		return note{State: driver.Running, Since: m.h.cfg.Now(), Boot: n.Boot + 1, Resets: n.Resets, BootID: m.h.boot}
	})
}

func isActive(c *conn, id string) bool {
	state, _, err := c.DomainGetState(dom(id), 0)
	return err == nil && seen{state: state}.active()
}

// forget has libvirt drop a domain that is off, and with it a lock that it keeps of it
// (errHeld). To define it right after makes it anew.
func forget(c *conn, id string) error {
	if isActive(c, id) {
		return nil
	}
	err := c.DomainUndefineFlags(dom(id), golibvirt.DomainUndefineKeepNvram)
	if code(err) == errNoDomain {
		return nil
	}
	return err
}

// begin notes that a start is under way, or is not any more. That it is for a reboot
// stays known until it is done: after an interruption there is another.
func (m *machine) begin(starting bool) error {
	return m.update(func(n note) note {
		m.busy, n.Starting = starting, starting
		if starting {
			n.Verdict, n.Hint = nil, ""
		}
		return n
	})
}

func (m *machine) lastSeen() seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

// giveUp ends a start that nobody works on any more.
func (m *machine) giveUp(ctx context.Context) error {
	if n := m.note(); !n.Starting {
		return nil
	}
	m.h.cfg.Log.Warn("a start was interrupted; the machine is put away", "machine", m.id)
	if err := m.kill(ctx); err != nil {
		return err
	}
	_, err := m.sync(ctx)
	return err
}

// reboot starts a machine whose guest shut down for that.
func (m *machine) reboot(ctx context.Context) error {
	if _, err := m.sync(ctx); err != nil {
		return err
	}
	if n := m.note(); m.lastSeen().active() || !n.RebootBy.After(m.h.cfg.Now()) {
		return nil
	}
	err := m.start(ctx)
	if err != nil && ctx.Err() == nil {
		m.update(func(n note) note {
			n.State, n.Reason, n.Since = driver.Stopped, "the guest shut down, and could not be started again: "+err.Error(), m.h.cfg.Now()
			return n
		})
	}
	return err
}

// Stop implements driver.Hypervisor.
func (h *Hypervisor) Stop(ctx context.Context, id string, mode driver.StopMode) error {
	if mode == driver.Force {
		return h.stopNow(ctx, id)
	}
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		if !m.lastSeen().active() {
			return m.update(noReboot)
		}
		return m.press(ctx, time.Time{})
	})
}

// noReboot makes a guest that is off by now stay off.
func noReboot(n note) note {
	if !n.RebootBy.IsZero() && n.State.On() {
		n.RebootBy, n.RebootVia, n.Verdict = time.Time{}, "", &verdict{State: driver.Defined}
	}
	return n
}

// stopNow ends the QEMU before it waits for whatever else goes on with the
// machine: that then ends too.
func (h *Hypervisor) stopNow(ctx context.Context, id string) error {
	return h.first(ctx, id, func(ctx context.Context, m *machine) error {
		_, err := m.sync(ctx)
		return err
	})
}

// first kills, takes the lock, makes sure, and acts.
func (h *Hypervisor) first(ctx context.Context, id string, act func(context.Context, *machine) error) error {
	outer, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	m := h.hold(id)
	defer h.drop(m)
	_, err = m.sync(outer)
	exists := err == nil
	if exists && m.lastSeen().active() && m.op.Taken() {
		err = m.kill(outer)
	}
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return fmt.Errorf("libvirt: machine %s: %w", id, err)
	}
	return h.locked(outer, id, func(ctx context.Context, m *machine) error {
		if _, err := m.sync(ctx); err == nil && m.lastSeen().active() {
			if err := m.kill(ctx); err != nil {
				return err
			}
		} else if err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
		if err := m.update(noReboot); err != nil {
			return err
		}
		return act(ctx, m)
	})
}

// kill ends a QEMU by our decision, which is noted first. What libvirt does not
// manage in time is done by signal: it waits ten seconds for one that hangs. A
// start for a reboot that is given up is still to be made.
func (m *machine) kill(ctx context.Context) error {
	err := m.update(func(n note) note {
		again := n.Starting && n.RebootBy.After(m.h.cfg.Now())
		if n.State.On() && n.Verdict == nil && !again {
			n.Verdict = &verdict{State: driver.Defined}
		}
		return n
	})
	if err != nil {
		return err
	}
	pid := m.findPID()
	late := time.AfterFunc(politely, func() {
		if pid != 0 && m.findPID() == pid {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	defer late.Stop()
	err = m.h.call(ctx, m.h.cfg.StartTimeout, func(c *conn) error {
		return c.DomainDestroyFlags(dom(m.id), golibvirt.DomainDestroyDefault)
	})
	if code(err) == errInvalidOp || code(err) == errNoDomain {
		err = nil // it is off already
	}
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if _, err = m.sync(ctx); errors.Is(err, driver.ErrNotFound) {
		err = nil
	}
	return err
}

// Destroy implements driver.Hypervisor.
func (h *Hypervisor) Destroy(ctx context.Context, id string) error {
	return h.first(ctx, id, func(ctx context.Context, m *machine) error {
		if err := m.destroy(ctx); err != nil {
			return fmt.Errorf("destroy: %w", err)
		}
		return nil
	})
}

// destroy forgets a machine that is off: the domain first, its file last, which
// says what is left to clean up should we be interrupted.
func (m *machine) destroy(ctx context.Context) error {
	if _, owner, err := m.definition(ctx); err == nil && owner == m.h.cfg.Owner {
		flags := golibvirt.DomainUndefineManagedSave | golibvirt.DomainUndefineSnapshotsMetadata |
			golibvirt.DomainUndefineNvram | golibvirt.DomainUndefineCheckpointsMetadata
		err := m.h.call(ctx, m.h.cfg.Timeout, func(c *conn) error { return c.DomainUndefineFlags(dom(m.id), flags) })
		if err != nil && code(err) != errNoDomain {
			return fmt.Errorf("undefine: %w", err)
		}
	} else if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	if !m.known() {
		return nil
	}
	spec := m.spec()
	if err := removeTaps(m.h.place(), spec); err != nil {
		return err
	}
	if err := removeFiles(spec); err != nil {
		return err
	}
	if err := m.h.reg.remove(m.id); err != nil {
		return err
	}
	m.mu.Lock()
	m.file, m.filed, m.seen = entry{Note: note{State: driver.Defined}}, false, seen{}
	m.mu.Unlock()
	m.h.events.Publish(driver.Event{ID: m.id, Reason: "destroyed"})
	return nil
}

// removeFiles removes what the driver and libvirt put into Spec.Dir.
func removeFiles(s driver.Spec) error {
	logs, err := filepath.Glob(consoleLog(s) + "*") // virtlogd keeps older parts beside it
	if err != nil {
		logs = []string{consoleLog(s)}
	}
	for _, path := range append(logs, consoleSocket(s), nvram(s)) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	os.Remove(s.Dir) // unless somebody else's files are in it
	return nil
}
