package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/host"
)

// politely is how long a QEMU may take to close its files when told to quit.
const politely = time.Second

// Start implements driver.Hypervisor.
func (h *Hypervisor) Start(ctx context.Context, id string) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error { return m.start(ctx) })
}

func (m *machine) start(ctx context.Context) error {
	m.mu.Lock()
	def, rec, running, gone := m.def, m.rec, m.session, m.undefined
	m.mu.Unlock()
	switch {
	case gone:
		return driver.ErrNotFound
	case running != nil && rec.State.On():
		return nil
	case running != nil: // of a start that failed
		if err := m.kill(ctx, running); err != nil {
			return err
		}
	}
	p, err := m.h.probe(ctx)
	if err != nil {
		return err
	}
	l, files, err := m.h.openAll(def)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer files.close()
	boot, err := host.BootID()
	if err != nil {
		return err
	}
	// Should we die now, a later process searches for what we may have started,
	// and what is not running yet goes back to where it was.
	err = m.change(false, func(r *record) {
		r.Process = &identity{BootID: boot}
		r.Verdict = &verdict{rec.State, rec.Reason}
	})
	if err != nil {
		return err
	}
	c, err := spawn(p.binary, argv(l), files.files, def.UID, p.groups)
	if err != nil {
		m.conclude("")
		return fmt.Errorf("start: %w", err)
	}
	files.close() // a QEMU that dies must take its listening sockets with it
	s := newSession(m, c)
	m.mu.Lock()
	m.session = s
	m.mu.Unlock()
	if err := s.birth(ctx, def); err != nil {
		killed := m.kill(ctx, s)
		return errors.Join(fmt.Errorf("start: %w%s", err, m.lastWords()), killed)
	}
	return nil
}

// birth takes a new process to a running machine. The session runs afterwards in
// any case.
func (s *session) birth(ctx context.Context, def definition) error {
	m := s.m
	err := s.change(func(r *record) { r.Process = &s.child.identity })
	// Moving a process into a cgroup can take 10 ms, in which QEMU gets itself ready.
	confined := make(chan error, 1)
	m.h.calls.Go(func() { confined <- m.h.confine(m.id, s.child.PID, def.Spec) })
	if err == nil {
		err = s.connect(ctx)
	}
	if e := <-confined; err == nil {
		err = e
	}
	m.h.calls.Go(s.run)
	if err != nil {
		return err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	before := m.record()
	err = s.change(func(r *record) {
		r.State, r.Reason, r.Verdict = driver.Running, "", nil
		r.Boot++
	})
	if err == nil {
		err = s.execute(ctx, "cont", nil)
	}
	if err != nil {
		s.change(func(r *record) { r.State, r.Reason, r.Verdict = before.State, before.Reason, before.Verdict })
	}
	return err
}

// lastWords is the end of what QEMU printed, to be appended to an error.
func (m *machine) lastWords() string {
	f, err := os.Open(m.h.reg.path(m.id, "qemu.log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 4096))
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return ""
	}
	return "; QEMU says: " + strings.ToValidUTF8(string(b), "?")
}

// Stop implements driver.Hypervisor.
func (h *Hypervisor) Stop(ctx context.Context, id string, mode driver.StopMode) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		m.mu.Lock()
		s, gone := m.session, m.undefined
		m.mu.Unlock()
		switch {
		case gone:
			return driver.ErrNotFound
		case s == nil:
			return nil
		case mode == driver.Force:
			return m.stop(ctx, s)
		}
		return m.press(ctx, s, time.Time{})
	})
}

// stop ends a machine by our decision: QEMU may close its files, within limits.
func (m *machine) stop(ctx context.Context, s *session) error {
	s.verdict(driver.Defined, "")
	polite, cancel := context.WithTimeout(ctx, politely)
	defer cancel()
	if s.execute(polite, "quit", nil) == nil && s.await(polite, politely) == nil {
		return nil
	}
	return m.kill(ctx, s)
}

// kill ends a process at once and waits until that is recorded.
func (m *machine) kill(ctx context.Context, s *session) error {
	s.verdict(driver.Defined, "")
	if err := s.child.kill(); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	return s.await(ctx, m.h.cfg.Timeout)
}

// Destroy implements driver.Hypervisor. The process is killed before we wait for
// whatever else is going on with the machine: that then ends too.
func (h *Hypervisor) Destroy(ctx context.Context, id string) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	m, err := h.machine(id)
	if err != nil {
		return nil
	}
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s != nil {
		s.verdict(driver.Defined, "destroyed")
		s.child.kill()
	}
	if err := m.op.Take(ctx); err != nil {
		return fmt.Errorf("qemu: machine %s: destroy: %w", id, err)
	}
	defer m.op.Give()
	if err := m.destroy(ctx); err != nil {
		return fmt.Errorf("qemu: machine %s: destroy: %w", id, err)
	}
	return nil
}

func (m *machine) destroy(ctx context.Context) error {
	m.mu.Lock()
	s, def, gone := m.session, m.def, m.undefined
	m.mu.Unlock()
	if gone {
		return nil
	}
	if s != nil {
		if err := m.kill(ctx, s); err != nil {
			return err
		}
	}
	for _, path := range []string{consoleLog(def.Spec), nvram(def.Spec), nvram(def.Spec) + ".tmp"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if def.MadeDir {
		os.Remove(def.Spec.Dir) // unless somebody else's files are in it
	}
	m.saving.Lock() // nobody writes a state into a directory that goes away
	m.mu.Lock()
	m.undefined = true
	m.mu.Unlock()
	err := m.h.reg.remove(m.id)
	if err != nil {
		m.mu.Lock()
		m.undefined = false
		m.mu.Unlock()
	}
	m.saving.Unlock()
	if err != nil {
		return err
	}
	m.h.forget(m)
	m.h.events.Publish(driver.Event{ID: m.id, Reason: "destroyed"})
	return nil
}
