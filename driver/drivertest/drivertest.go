// Package drivertest proves that a driver.Hypervisor keeps its contract. Every
// rule is a test with the rule as its comment. What a driver cannot do is found
// by its abilities (driver.As) and by what its Config offers, never by its name.
package drivertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// Config is a driver under test. New and Spec are required; a part that is nil
// skips the rules that need it.
type Config struct {
	// New opens the driver over a host without machines. What the host needs to
	// go away is t.Cleanup's; the suite destroys its machines and closes.
	New func(t *testing.T) driver.Hypervisor
	// Reopen opens the host of h, which is closed, as a restarted process does.
	Reopen func(t *testing.T, h driver.Hypervisor) driver.Hypervisor
	// Spec returns the n-th machine of a host; the same n gives an equal Spec. What
	// runs in it does not matter as long as it stays on.
	Spec func(t *testing.T, h driver.Hypervisor, n int) driver.Spec
	// Banner is what each boot of such a machine prints on its serial port.
	Banner string
	// Crash ends the emulator of a machine from outside.
	Crash func(t *testing.T, h driver.Hypervisor, s driver.Status)
	// Hang makes the emulator of a machine neither answer nor end by itself.
	Hang func(t *testing.T, h driver.Hypervisor, s driver.Status)
	// Content is what a guest finds on a disk image file of some format, whose
	// machine is off or is not using it; it fails the test on a broken one. The
	// rules compare copies with it.
	Content func(t *testing.T, path, format string) []byte
	// Guest is a machine with an operating system.
	Guest *Guest
	// Patience bounds every wait of the suite; 0 is 60 s. No rule is about time.
	Patience time.Duration
}

// Guest is a machine whose operating system boots to a prompt on its serial port
// and obeys the power button.
type Guest struct {
	Spec func(t *testing.T, h driver.Hypervisor, n int) driver.Spec
	// Prompt is printed when it is up.
	Prompt string
	// PowerOff is typed on the console to make the guest shut itself down.
	PowerOff string
	// Restart is typed on the console to make the guest reset itself.
	Restart string
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	for _, group := range [][]rule{definitionRules, powerRules, eventRules, consoleRules, restartRules, troubleRules, guestRules,
		displayRules, snapshotRules, statRules} {
		for _, r := range group {
			t.Run(r.name, func(t *testing.T) {
				if r.guest && cfg.Guest == nil {
					t.Skip("no guest")
				}
				s := &suite{T: t, cfg: cfg}
				s.open(cfg.New(t))
				r.test(s)
			})
		}
	}
}

type rule struct {
	name  string
	guest bool
	test  func(*suite)
}

// suite is one rule's host and what is often done with it.
type suite struct {
	*testing.T
	cfg Config
	h   driver.Hypervisor
	ctx context.Context
}

func (s *suite) open(h driver.Hypervisor) {
	s.Helper()
	s.h = h
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(context.Background(), s.cfg.Patience)
	s.Cleanup(func() {
		cancel()
		if s.h != h {
			return // closed and opened again
		}
		// A rule that used its own time up must not leave its machines behind.
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Patience)
		defer cancel()
		list, _ := h.List(ctx)
		for _, m := range list {
			if err := h.Destroy(ctx, m.ID); err != nil {
				s.Errorf("cleaning up: %v", err)
			}
		}
		if err := h.Close(); err != nil {
			s.Errorf("cleaning up: %v", err)
		}
	})
}

// reopen is a restart of the process that runs the driver; away happens while
// there is none.
func (s *suite) reopen(away func()) {
	s.Helper()
	if s.cfg.Reopen == nil {
		s.Skip("no Reopen")
	}
	old := s.h
	s.must(old.Close())
	if away != nil {
		away()
	}
	s.open(s.cfg.Reopen(s.T, old))
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) fails(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// created returns the ID of the n-th machine, defined.
func (s *suite) created(n int) string {
	s.Helper()
	spec := s.cfg.Spec(s.T, s.h, n)
	s.must(s.h.Create(s.ctx, spec))
	return spec.ID
}

func (s *suite) started(n int) string {
	s.Helper()
	id := s.created(n)
	s.must(s.h.Start(s.ctx, id))
	return id
}

func (s *suite) inspect(id string) driver.Status {
	s.Helper()
	st, err := s.h.Inspect(s.ctx, id)
	s.must(err)
	return st
}

func (s *suite) is(id string, want driver.State) driver.Status {
	s.Helper()
	st := s.inspect(id)
	if st.State != want {
		s.Fatalf("machine is %s (%s), want %s", st.State, st.Reason, want)
	}
	return st
}

// becomes waits for a machine to be in one of the states.
func (s *suite) becomes(id string, want ...driver.State) driver.Status {
	s.Helper()
	return s.until(id, func(st driver.Status) bool { return slices.Contains(want, st.State) })
}

// until waits for a condition: events are only hints, so it looks now and then.
func (s *suite) until(id string, ok func(driver.Status) bool) driver.Status {
	s.Helper()
	events, err := s.h.Events(s.ctx)
	s.must(err)
	defer events.Close()
	for {
		st := s.inspect(id)
		if ok(st) {
			return st
		}
		ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
		_, err := events.Next(ctx)
		cancel()
		if err != nil && s.ctx.Err() != nil {
			s.Fatalf("waited in vain; machine is %+v", st)
		}
	}
}

func ability[T any](s *suite) T {
	s.Helper()
	t, ok := driver.As[T](s.h)
	if !ok {
		s.Skipf("the driver is no %T", new(T))
	}
	return t
}
