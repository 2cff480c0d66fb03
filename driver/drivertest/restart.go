package drivertest

import (
	"github.com/shakenfist/cloud/driver"
)

var restartRules = []rule{
	// A new driver over the same host knows all machines as they are, and has
	// them fully in hand.
	{name: "Adopt", test: func(s *suite) {
		defined, stopped, running := s.created(1), s.started(2), s.started(3)
		s.must(s.h.Stop(s.ctx, stopped, driver.Force))
		before := map[string]driver.Status{}
		for _, id := range []string{defined, stopped, running} {
			before[id] = s.inspect(id)
		}
		s.reopen(nil)
		list, err := s.h.List(s.ctx)
		s.must(err)
		if len(list) != len(before) {
			s.Fatalf("list is %+v", list)
		}
		for _, st := range list {
			was := before[st.ID]
			if st.State != was.State || st.PID != was.PID || st.Boot != was.Boot || !st.Since.Equal(was.Since) {
				s.Errorf("%+v became %+v", was, st)
			}
		}
		s.must(s.h.Create(s.ctx, s.cfg.Spec(s.T, s.h, 3)))
		events, err := s.h.Events(s.ctx)
		s.must(err)
		defer events.Close()
		s.must(s.h.Stop(s.ctx, running, driver.Force))
		s.hinted(events, running, driver.Defined)
		s.must(s.h.Start(s.ctx, running))
		if st := s.is(running, driver.Running); st.Boot != 2 {
			s.Errorf("the boot after adoption is %d", st.Boot)
		}
		s.must(s.h.Start(s.ctx, defined))
		s.must(s.h.Destroy(s.ctx, stopped))
	}},

	// A paused machine stays paused over a restart, and goes on.
	{name: "AdoptPaused", test: func(s *suite) {
		id := s.started(1)
		s.must(ability[driver.Pauser](s).Pause(s.ctx, id))
		s.reopen(nil)
		s.is(id, driver.Paused)
		s.must(ability[driver.Pauser](s).Resume(s.ctx, id))
		s.is(id, driver.Running)
	}},

	// The console of an adopted machine works, and its log goes on.
	{name: "AdoptConsole", test: func(s *suite) {
		ability[driver.Consoler](s)
		ability[driver.Resetter](s)
		id := s.started(1)
		end := s.logged(id, 0, s.cfg.Banner)
		con, err := ability[driver.Consoler](s).Console(s.ctx, id)
		s.must(err)
		s.reopen(nil)
		con.Close() // of the process that ended
		con, err = ability[driver.Consoler](s).Console(s.ctx, id)
		s.must(err)
		defer con.Close()
		s.must(ability[driver.Resetter](s).Reset(s.ctx, id))
		s.reads(con, s.cfg.Banner)
		s.logged(id, end, s.cfg.Banner)
	}},

	// An emulator that died while nobody watched is Crashed, and starts again.
	{name: "AdoptCrashed", test: func(s *suite) {
		if s.cfg.Crash == nil {
			s.Skip("no Crash")
		}
		id := s.started(1)
		st := s.inspect(id)
		s.reopen(func() { s.cfg.Crash(s.T, s.h, st) })
		if st := s.becomes(id, driver.Crashed); st.Reason == "" || st.PID != 0 {
			s.Errorf("a crashed machine is %+v", st)
		}
		s.must(s.h.Start(s.ctx, id))
		s.is(id, driver.Running)
	}},

	// A driver opens although an emulator hangs, knows it, and can destroy it.
	{name: "AdoptHung", test: func(s *suite) {
		hung, other := s.started(1), s.started(2)
		s.hang(hung)
		s.reopen(nil)
		if st := s.inspect(hung); !st.State.On() {
			s.Errorf("a hung machine is %+v", st)
		}
		s.must(s.h.Stop(s.ctx, other, driver.Force))
		s.must(s.h.Destroy(s.ctx, hung))
	}},
}
