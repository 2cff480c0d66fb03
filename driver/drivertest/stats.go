package drivertest

import "github.com/shakenfist/cloud/driver"

var statRules = []rule{
	// A running machine uses CPU, memory and its disk, counted from its start on;
	// one that is off has no counters.
	{name: "Stats", test: func(s *suite) {
		t := ability[driver.Stater](s)
		id := s.created(1)
		_, err := t.Stats(s.ctx, id)
		s.fails("of a machine that is off", err, driver.ErrState)
		_, err = t.Stats(s.ctx, nobody)
		s.fails("of nobody", err, driver.ErrNotFound)
		s.must(s.h.Start(s.ctx, id))
		s.logged(id, 0, s.cfg.Banner)
		first, err := t.Stats(s.ctx, id)
		s.must(err)
		if first.CPUNanoseconds <= 0 || first.MemoryBytes <= 0 || first.ReadBytes < 0 || first.WrittenBytes < 0 ||
			first.ReceivedBytes < 0 || first.SentBytes < 0 {
			s.Errorf("counters are %+v", first)
		}
		second, err := t.Stats(s.ctx, id)
		s.must(err)
		if second.CPUNanoseconds < first.CPUNanoseconds || second.ReadBytes < first.ReadBytes || second.WrittenBytes < first.WrittenBytes {
			s.Errorf("counters went from %+v to %+v", first, second)
		}
	}},

	// A guest that booted has read its disk.
	{name: "GuestStats", guest: true, test: func(s *suite) {
		t := ability[driver.Stater](s)
		id := s.booted()
		st, err := t.Stats(s.ctx, id)
		s.must(err)
		if st.ReadBytes <= 0 || st.CPUNanoseconds <= 0 {
			s.Errorf("a guest booted with %+v", st)
		}
	}},
}
