package drivertest

import (
	"sync"

	"github.com/shakenfist/cloud/driver"
)

var powerRules = []rule{
	// Start runs a machine and counts its boots; of a running one it is nil and
	// changes nothing.
	{name: "Start", test: func(s *suite) {
		id := s.started(1)
		first := s.is(id, driver.Running)
		if first.Boot != 1 || first.Since.IsZero() && first.PID == 0 {
			s.Errorf("a running machine is %+v", first)
		}
		s.must(s.h.Start(s.ctx, id))
		if again := s.is(id, driver.Running); again != first {
			s.Errorf("starting it again changed %+v to %+v", first, again)
		}
	}},

	// Stop by force leaves a Defined machine that can be started; of one that is
	// off it is nil in both modes.
	{name: "Stop", test: func(s *suite) {
		id := s.created(1)
		for _, mode := range []driver.StopMode{driver.Graceful, driver.Force} {
			s.must(s.h.Stop(s.ctx, id, mode))
			s.is(id, driver.Defined)
		}
		for boot := int64(1); boot <= 2; boot++ {
			s.must(s.h.Start(s.ctx, id))
			if st := s.is(id, driver.Running); st.Boot != boot {
				s.Errorf("boot is %d, want %d", st.Boot, boot)
			}
			s.must(s.h.Stop(s.ctx, id, driver.Force))
			if st := s.is(id, driver.Defined); st.PID != 0 {
				s.Errorf("a stopped machine has process %d", st.PID)
			}
			s.must(s.h.Stop(s.ctx, id, driver.Force))
		}
	}},

	// Pausing and resuming change the state, twice is nil, and a paused machine
	// is on: it can be stopped.
	{name: "Pause", test: func(s *suite) {
		p := ability[driver.Pauser](s)
		id := s.started(1)
		before := s.inspect(id)
		s.must(p.Resume(s.ctx, id))
		for range 2 {
			s.must(p.Pause(s.ctx, id))
			s.is(id, driver.Paused)
		}
		s.must(s.h.Start(s.ctx, id))
		s.is(id, driver.Paused)
		for range 2 {
			s.must(p.Resume(s.ctx, id))
		}
		if st := s.is(id, driver.Running); st.Boot != before.Boot || st.PID != before.PID {
			s.Errorf("a pause changed %+v to %+v", before, st)
		}
		s.must(p.Pause(s.ctx, id))
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		s.is(id, driver.Defined)
	}},

	// What needs a machine that is on is ErrState for one that is off.
	{name: "Off", test: func(s *suite) {
		id := s.created(1)
		if p, ok := driver.As[driver.Pauser](s.h); ok {
			s.fails("Pause", p.Pause(s.ctx, id), driver.ErrState)
			s.fails("Resume", p.Resume(s.ctx, id), driver.ErrState)
		}
		if r, ok := driver.As[driver.Resetter](s.h); ok {
			s.fails("Reset", r.Reset(s.ctx, id), driver.ErrState)
		}
		if r, ok := driver.As[driver.Rebooter](s.h); ok {
			s.fails("Reboot", r.Reboot(s.ctx, id), driver.ErrState)
		}
		if c, ok := driver.As[driver.Consoler](s.h); ok {
			_, err := c.Console(s.ctx, id)
			s.fails("Console", err, driver.ErrState)
		}
		s.is(id, driver.Defined)
	}},

	// Reset boots the machine again, which stays on.
	{name: "Reset", test: func(s *suite) {
		r := ability[driver.Resetter](s)
		id := s.started(1)
		end := s.logged(id, 0, s.cfg.Banner)
		s.must(r.Reset(s.ctx, id))
		s.logged(id, end, s.cfg.Banner)
		s.is(id, driver.Running)
	}},

	// Calls on one machine may race: each is done or refused, none is stuck, and
	// the machine obeys afterwards.
	{name: "Races", test: func(s *suite) {
		spec := s.cfg.Spec(s.T, s.h, 1)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for range 2 {
					s.h.Create(s.ctx, spec)
					s.h.Start(s.ctx, spec.ID)
					s.h.Inspect(s.ctx, spec.ID)
					if i%2 == 0 {
						s.h.Stop(s.ctx, spec.ID, driver.Force)
					} else {
						s.h.Destroy(s.ctx, spec.ID)
					}
				}
			})
		}
		all.Wait()
		s.must(s.ctx.Err())
		s.must(s.h.Create(s.ctx, spec))
		s.must(s.h.Start(s.ctx, spec.ID))
		s.is(spec.ID, driver.Running)
		s.must(s.h.Destroy(s.ctx, spec.ID))
		list, err := s.h.List(s.ctx)
		if err != nil || len(list) != 0 {
			s.Errorf("left over: %+v, %v", list, err)
		}
	}},

	// Racing Starts start once.
	{name: "StartOnce", test: func(s *suite) {
		id := s.created(1)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := s.h.Start(s.ctx, id); err != nil {
					s.Error(err)
				}
			})
		}
		all.Wait()
		if st := s.is(id, driver.Running); st.Boot != 1 {
			s.Errorf("it was started %d times", st.Boot)
		}
	}},
}
