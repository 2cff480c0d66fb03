package drivertest

import (
	"context"

	"github.com/shakenfist/cloud/driver"
)

var eventRules = []rule{
	// Every change is hinted at, to all streams.
	{name: "Events", test: func(s *suite) {
		id := s.created(1)
		var streams []driver.EventStream
		for range 2 {
			e, err := s.h.Events(s.ctx)
			s.must(err)
			defer e.Close()
			streams = append(streams, e)
		}
		for _, step := range []struct {
			act  func() error
			want driver.State
		}{
			{func() error { return s.h.Start(s.ctx, id) }, driver.Running},
			{func() error { return s.h.Stop(s.ctx, id, driver.Force) }, driver.Defined},
		} {
			s.must(step.act())
			for _, e := range streams {
				s.hinted(e, id, step.want)
			}
		}
		s.must(s.h.Destroy(s.ctx, id))
		for _, e := range streams {
			s.hinted(e, id, "")
		}
	}},

	// What is ready is returned even when the context is done; what is not, isn't.
	{name: "EventsReady", test: func(s *suite) {
		e, err := s.h.Events(s.ctx)
		s.must(err)
		defer e.Close()
		done, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err = e.Next(done)
		s.fails("Next without events", err, context.Canceled)
		id := s.created(1)
		got, err := e.Next(done)
		if err != nil || got.ID != id {
			s.Errorf("got %+v, %v", got, err)
		}
	}},

	// A stream nobody reads blocks nobody.
	{name: "EventsUnread", test: func(s *suite) {
		e, err := s.h.Events(s.ctx)
		s.must(err)
		defer e.Close()
		id := s.created(1)
		for range 5 {
			s.must(s.h.Start(s.ctx, id))
			s.must(s.h.Stop(s.ctx, id, driver.Force))
		}
		s.hinted(e, id, driver.Defined)
	}},

	// A closed stream, and one of a closed driver, ends instead of waiting.
	{name: "EventsClosed", test: func(s *suite) {
		for _, end := range []func(driver.EventStream) error{
			func(e driver.EventStream) error { return e.Close() },
			func(driver.EventStream) error { return s.h.Close() },
		} {
			e, err := s.h.Events(s.ctx)
			s.must(err)
			errs := make(chan error, 1)
			go func() { _, err := e.Next(s.ctx); errs <- err }()
			s.must(end(e))
			if err := <-errs; err == nil || s.ctx.Err() != nil {
				s.Errorf("Next of a closed stream: %v", err)
			}
		}
		s.reopenForCleanup()
	}},

	// Close may be repeated, ends no machine, and no call works after it.
	{name: "Close", test: func(s *suite) {
		id := s.started(1)
		before := s.inspect(id)
		s.must(s.h.Close())
		s.must(s.h.Close())
		if err := s.h.Start(s.ctx, id); err == nil {
			s.Error("Start after Close is nil")
		}
		if _, err := s.h.List(s.ctx); err == nil {
			s.Error("List after Close is nil")
		}
		s.reopen(nil)
		if st := s.is(id, driver.Running); st.Boot != before.Boot || st.PID != before.PID {
			s.Errorf("closing changed %+v to %+v", before, st)
		}
	}},
}

// hinted waits for a hint about a machine in a state.
func (s *suite) hinted(e driver.EventStream, id string, want driver.State) {
	s.Helper()
	for {
		got, err := e.Next(s.ctx)
		if err != nil {
			s.Fatalf("no event about %s: %v", want, err)
		}
		if got.ID == "" || got.ID == id && (got.State == want || got.State == "" || want == "") {
			return
		}
	}
}

// reopenForCleanup gives the cleanup a driver that works, where that is possible.
func (s *suite) reopenForCleanup() {
	s.Helper()
	if s.cfg.Reopen != nil {
		s.reopen(nil)
	}
}
