package drivertest

import (
	"context"
	"io"
	"time"

	"github.com/shakenfist/cloud/driver"
)

var displayRules = []rule{
	// The screen speaks VNC and shows something, to several viewers at a time, of
	// whom none can send the others away, block them or the machine; it is there
	// when the machine is paused, and ends with io.EOF when it is off.
	{name: "Display", test: func(s *suite) {
		d := ability[driver.Displayer](s)
		id := s.seen(1)
		first, conn := s.watch(id, false)
		s.shows(first)
		second, other := s.watch(id, true)
		s.shows(second)
		s.shows(first)
		s.must(other.Close())
		if _, err := other.Read(make([]byte, 1)); err == nil {
			s.Error("reading a closed screen is nil")
		}
		s.shows(first)
		for range 4 { // these ask for all there is and never read it
			lazy, _ := s.watch(id, false)
			for range 8 {
				s.must(lazy.say([]byte{3, 0, 0, 0, 0, 0, byte(lazy.width >> 8), byte(lazy.width), byte(lazy.height >> 8), byte(lazy.height)}))
			}
		}
		s.shows(first)
		if p, ok := driver.As[driver.Pauser](s.h); ok {
			s.must(p.Pause(s.ctx, id))
			paused, view := s.watch(id, false)
			s.shows(paused)
			s.must(view.Close())
			s.must(p.Resume(s.ctx, id))
		}
		s.is(id, driver.Running)
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			s.Errorf("the end of a screen: %v", err)
		}
		_, err := d.Display(s.ctx, id)
		s.fails("the screen of a machine that is off", err, driver.ErrState)
	}},

	// A machine without a graphics card has no screen.
	{name: "DisplayNone", test: func(s *suite) {
		d := ability[driver.Displayer](s)
		spec := s.cfg.Spec(s.T, s.h, 1)
		spec.Video = driver.Video{Model: "none"}
		s.must(s.h.Create(s.ctx, spec))
		_, err := d.Display(s.ctx, spec.ID)
		s.fails("off", err, driver.ErrState)
		s.must(s.h.Start(s.ctx, spec.ID))
		_, err = d.Display(s.ctx, spec.ID)
		s.fails("without a card", err, driver.ErrInvalid)
	}},

	// What a guest's boot leaves on its screen is seen, by two viewers alike.
	{name: "GuestDisplay", guest: true, test: func(s *suite) {
		ability[driver.Displayer](s)
		ability[driver.Consoler](s)
		spec := s.withScreen(s.cfg.Guest.Spec(s.T, s.h, 1))
		s.must(s.h.Create(s.ctx, spec))
		s.must(s.h.Start(s.ctx, spec.ID))
		s.logged(spec.ID, 0, s.cfg.Guest.Prompt)
		one, _ := s.watch(spec.ID, false)
		two, _ := s.watch(spec.ID, false)
		s.shows(one)
		s.shows(two)
	}},

	// The screen of an adopted machine is there.
	{name: "AdoptDisplay", test: func(s *suite) {
		ability[driver.Displayer](s)
		id := s.seen(1)
		before, _ := s.watch(id, false)
		s.shows(before)
		s.reopen(nil)
		after, _ := s.watch(id, false)
		s.shows(after)
	}},
}

// seen starts a machine that has a screen.
func (s *suite) seen(n int) string {
	s.Helper()
	spec := s.withScreen(s.cfg.Spec(s.T, s.h, n))
	s.must(s.h.Create(s.ctx, spec))
	s.must(s.h.Start(s.ctx, spec.ID))
	return spec.ID
}

// withScreen gives a machine the first graphics card that the driver has.
func (s *suite) withScreen(spec driver.Spec) driver.Spec {
	s.Helper()
	info, err := s.h.Info(s.ctx)
	s.must(err)
	for _, model := range info.VideoModels {
		if model != "none" {
			spec.Video = driver.Video{Model: model, MemoryKiB: 16 << 10}
			return spec
		}
	}
	s.Skip("no graphics card")
	return spec
}

// watch opens a screen, which is closed at the end.
func (s *suite) watch(id string, exclusive bool) (*rfb, io.ReadWriteCloser) {
	s.Helper()
	conn, err := ability[driver.Displayer](s).Display(s.ctx, id)
	s.must(err)
	s.Cleanup(func() { conn.Close() })
	v, err := shake(s.patient(conn), exclusive)
	s.must(err)
	return v, conn
}

// shows waits for a screen that is not blank.
func (s *suite) shows(v *rfb) {
	s.Helper()
	for {
		picture, err := v.look()
		s.must(err)
		if colours(picture) > 1 {
			return
		}
		select {
		case <-s.ctx.Done():
			s.Fatalf("the screen of %d by %d stays blank", v.width, v.height)
		case <-time.After(50 * time.Millisecond): // the guest draws when it likes
		}
	}
}

// patient makes a connection end when the suite's patience does.
func (s *suite) patient(c io.ReadWriteCloser) io.ReadWriter {
	context.AfterFunc(s.ctx, func() { c.Close() })
	return c
}
