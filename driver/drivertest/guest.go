package drivertest

import (
	"io"

	"github.com/shakenfist/cloud/driver"
)

var guestRules = []rule{
	// The power button ends an obedient guest, which is then off.
	{name: "GuestGraceful", guest: true, test: func(s *suite) {
		id := s.booted()
		s.must(s.h.Stop(s.ctx, id, driver.Graceful))
		s.becomes(id, driver.Stopped, driver.Defined)
		s.must(s.h.Start(s.ctx, id))
		if st := s.is(id, driver.Running); st.Boot != 2 {
			s.Errorf("boot is %d, want 2", st.Boot)
		}
	}},

	// A guest that shuts itself down is Stopped and not Crashed, with a reason.
	// A guest that resets itself stays Running.
	{name: "GuestEnds", guest: true, test: func(s *suite) {
		id := s.booted()
		end := s.end(id)
		s.types(id, s.cfg.Guest.Restart)
		s.logged(id, end, s.cfg.Guest.Prompt)
		s.is(id, driver.Running)
		s.types(id, s.cfg.Guest.PowerOff)
		if st := s.becomes(id, driver.Stopped, driver.Crashed); st.State != driver.Stopped || st.Reason == "" || st.PID != 0 {
			s.Errorf("after a shutdown it is %+v", st)
		}
	}},

	// That is so too when the guest ends while no driver is there.
	{name: "GuestEndsAway", guest: true, test: func(s *suite) {
		id := s.booted()
		s.must(s.h.Stop(s.ctx, id, driver.Graceful))
		s.reopen(nil) // at once: the guest ends around the restart
		s.becomes(id, driver.Stopped, driver.Defined)
	}},

	// Reboot ends in a new boot, also when the driver restarts in between.
	{name: "GuestReboot", guest: true, test: func(s *suite) {
		r := ability[driver.Rebooter](s)
		id := s.booted()
		end := s.end(id)
		s.must(r.Reboot(s.ctx, id))
		s.until(id, func(st driver.Status) bool { return st.Boot == 2 && st.State == driver.Running })
		end = s.logged(id, end, s.cfg.Guest.Prompt)
		r = ability[driver.Rebooter](s)
		s.must(r.Reboot(s.ctx, id))
		s.reopen(nil)
		s.until(id, func(st driver.Status) bool { return st.Boot == 3 && st.State == driver.Running })
		s.logged(id, end, s.cfg.Guest.Prompt)
	}},

	// The console is a terminal: what is typed comes back.
	{name: "GuestConsole", guest: true, test: func(s *suite) {
		id := s.booted()
		con, err := ability[driver.Consoler](s).Console(s.ctx, id)
		s.must(err)
		defer con.Close()
		_, err = io.WriteString(con, "hello-there\r")
		s.must(err)
		s.reads(con, "hello-there")
	}},
}

// booted returns a machine whose guest is up.
func (s *suite) booted() string {
	s.Helper()
	ability[driver.Consoler](s)
	spec := s.cfg.Guest.Spec(s.T, s.h, 1)
	s.must(s.h.Create(s.ctx, spec))
	s.must(s.h.Start(s.ctx, spec.ID))
	s.logged(spec.ID, 0, s.cfg.Guest.Prompt)
	return spec.ID
}

// end is the end of the console log now.
func (s *suite) end(id string) int64 {
	s.Helper()
	_, end, err := ability[driver.Consoler](s).ConsoleLog(s.ctx, id, -1, nil)
	s.must(err)
	return end
}

// types types on a machine's console.
func (s *suite) types(id, text string) {
	s.Helper()
	con, err := ability[driver.Consoler](s).Console(s.ctx, id)
	s.must(err)
	_, err = io.WriteString(con, text)
	s.must(err)
	s.must(con.Close())
}
