package drivertest

import (
	"github.com/shakenfist/cloud/driver"
)

var troubleRules = []rule{
	// An emulator that ends unasked is Crashed with a reason, hinted at, and the
	// machine can be started again.
	{name: "Crash", test: func(s *suite) {
		id := s.started(1)
		events, err := s.h.Events(s.ctx)
		s.must(err)
		defer events.Close()
		s.crash(id)
		s.hinted(events, id, driver.Crashed)
		if st := s.becomes(id, driver.Crashed); st.Reason == "" || st.PID != 0 {
			s.Errorf("a crashed machine is %+v", st)
		}
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		s.is(id, driver.Crashed)
		s.must(s.h.Start(s.ctx, id))
		if st := s.is(id, driver.Running); st.Boot != 2 || st.Reason != "" {
			s.Errorf("after a crash it is %+v", st)
		}
	}},

	// A machine whose emulator hangs blocks no other, nor looking at it; what it
	// is asked fails in time, and force ends it.
	{name: "Hang", test: func(s *suite) {
		hung := s.started(1)
		s.hang(hung)
		asked := make(chan error, 1)
		go func() {
			if p, ok := driver.As[driver.Pauser](s.h); ok {
				asked <- p.Pause(s.ctx, hung)
			} else {
				asked <- s.h.Stop(s.ctx, hung, driver.Graceful)
			}
		}()
		other := s.started(2)
		s.must(s.h.Stop(s.ctx, other, driver.Force))
		if st := s.inspect(hung); !st.State.On() {
			s.Errorf("a hung machine is %+v", st)
		}
		if err := <-asked; err == nil || s.ctx.Err() != nil {
			s.Errorf("asking a hung machine: %v", err)
		}
		s.must(s.h.Stop(s.ctx, hung, driver.Force))
		s.is(hung, driver.Defined)
		s.must(s.h.Start(s.ctx, hung))
	}},

	// Destroy does not wait for a call that is stuck in a hung machine.
	{name: "HangDestroy", test: func(s *suite) {
		p := ability[driver.Pauser](s)
		id := s.started(1)
		s.hang(id)
		asked := make(chan error, 1)
		go func() { asked <- p.Pause(s.ctx, id) }()
		s.must(s.h.Destroy(s.ctx, id))
		if err := <-asked; err == nil {
			s.Error("pausing what was destroyed is nil")
		}
	}},
}

func (s *suite) crash(id string) {
	s.Helper()
	if s.cfg.Crash == nil {
		s.Skip("no Crash")
	}
	s.cfg.Crash(s.T, s.h, s.inspect(id))
}

func (s *suite) hang(id string) {
	s.Helper()
	if s.cfg.Hang == nil {
		s.Skip("no Hang")
	}
	s.cfg.Hang(s.T, s.h, s.inspect(id))
}
