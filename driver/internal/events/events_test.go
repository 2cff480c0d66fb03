package events

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// next is what a stream has now: its context is over.
func next(t *testing.T, s *Stream) (driver.Event, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return s.Next(ctx)
}

func expect(t *testing.T, s *Stream, want ...driver.Event) {
	t.Helper()
	for _, w := range want {
		if e, err := next(t, s); e != w || err != nil {
			t.Fatalf("got %+v, %v; want %+v", e, err, w)
		}
	}
	if e, err := next(t, s); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %+v, %v; want nothing", e, err)
	}
}

// Whoever does not read keeps the latest event of each machine, the longest
// untouched first, and holds up nobody.
func TestSlowReader(t *testing.T) {
	h := Hub{Driver: "test"}
	slow, quick := h.Open(), h.Open()
	for i := range 1000 {
		e := driver.Event{ID: fmt.Sprint(i % 3), Reason: fmt.Sprint(i)}
		h.Publish(e)
		expect(t, quick, e)
	}
	if len(slow.queue) != 3 {
		t.Errorf("%d events are kept", len(slow.queue))
	}
	expect(t, slow, driver.Event{ID: "1", Reason: "997"}, driver.Event{ID: "2", Reason: "998"}, driver.Event{ID: "0", Reason: "999"})
	expect(t, h.Open())
}

// A reader that waits is woken by an event, and by its stream's end.
func TestWake(t *testing.T) {
	h := Hub{Driver: "test"}
	s := h.Open()
	for _, what := range []func(){func() { h.Publish(driver.Event{ID: "1"}) }, func() { s.Close() }} {
		errs := make(chan error)
		go func() { _, err := s.Next(t.Context()); errs <- err }()
		what()
		if err := <-errs; err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	}
}

// A closed hub's streams give what they have and then say so, to everybody who
// asks; so does one that is opened later.
func TestClose(t *testing.T) {
	h := Hub{Driver: "test"}
	s := h.Open()
	h.Publish(driver.Event{ID: "1"})
	h.Close()
	if e, err := next(t, s); e.ID != "1" || err != nil {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, s := range []*Stream{s, s, h.Open()} {
		if _, err := s.Next(t.Context()); !errors.Is(err, fs.ErrClosed) || !strings.HasPrefix(err.Error(), "test: event stream") {
			t.Errorf("got %v", err)
		}
	}
}

// All who wait for a stream hear of its end.
func TestCloseWakesAll(t *testing.T) {
	for range 100 {
		h := Hub{Driver: "test"}
		s := h.Open()
		errs := make(chan error)
		for range 2 {
			go func() { _, err := s.Next(t.Context()); errs <- err }()
		}
		runtime.Gosched()
		h.Close()
		for range 2 {
			if err := <-errs; !errors.Is(err, fs.ErrClosed) {
				t.Fatal(err)
			}
		}
	}
}

// A closed stream is forgotten; the others go on.
func TestCloseOne(t *testing.T) {
	h := Hub{Driver: "test"}
	gone, other := h.Open(), h.Open()
	gone.Close()
	gone.Close()
	h.Publish(driver.Event{ID: "1"})
	expect(t, other, driver.Event{ID: "1"})
	if _, err := next(t, gone); !errors.Is(err, fs.ErrClosed) || len(h.streams) != 1 {
		t.Errorf("got %v, of %d streams", err, len(h.streams))
	}
}

func TestChanged(t *testing.T) {
	since := time.Unix(1, 0)
	before := driver.Status{ID: "1", State: driver.Running, Since: since, Boot: 1, Resets: 1}
	for _, tt := range []struct {
		name   string
		before driver.Status
		change func(*driver.Status)
		want   string // empty for no event
	}{
		{"nothing", before, func(*driver.Status) {}, ""},
		{"reason alone", before, func(s *driver.Status) { s.Reason = "x" }, ""},
		{"state", before, func(s *driver.Status) { s.State, s.Reason = driver.Crashed, "x" }, "crashed x"},
		{"boot", before, func(s *driver.Status) { s.Boot++ }, "running "},
		{"boot and reset", before, func(s *driver.Status) { s.Boot, s.Resets = 2, 2 }, "running "},
		{"reset", before, func(s *driver.Status) { s.Resets++ }, "running the guest restarted"},
		{"the first", driver.Status{State: driver.Running, Boot: 1, Resets: 1}, func(*driver.Status) {}, "running "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := Hub{Driver: "test"}
			s := h.Open()
			after := before
			tt.change(&after)
			h.Changed(tt.before, after)
			e, err := next(t, s)
			if got := fmt.Sprintf("%s %s", e.State, e.Reason); err == nil && (got != tt.want || e.ID != "1") || err != nil && tt.want != "" {
				t.Errorf("got %+v, %v", e, err)
			}
		})
	}
}
