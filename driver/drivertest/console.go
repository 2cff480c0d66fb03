package drivertest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
)

var consoleRules = []rule{
	// What a machine prints is logged; the log is kept across boots and readable
	// when the machine is off, at any offset, also from its end.
	{name: "ConsoleLog", test: func(s *suite) {
		c := ability[driver.Consoler](s)
		id := s.created(1)
		p := make([]byte, 1<<16)
		if n, end, err := c.ConsoleLog(s.ctx, id, 0, p); n != 0 || end != 0 || err != nil {
			s.Errorf("before the first boot: %d, %d, %v", n, end, err)
		}
		s.must(s.h.Start(s.ctx, id))
		first := s.logged(id, 0, s.cfg.Banner)
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		s.must(s.h.Start(s.ctx, id))
		s.logged(id, first, s.cfg.Banner)
		s.must(s.h.Stop(s.ctx, id, driver.Force))

		n, end, err := c.ConsoleLog(s.ctx, id, 0, p)
		s.must(err)
		all := p[:n]
		if int64(n) != end || strings.Count(string(all), s.cfg.Banner) < 2 {
			s.Errorf("of two boots %d of %d bytes are there: %q", n, end, all)
		}
		for _, offset := range []int64{0, 5, end - 3, end, end + 100, -3, -end, -end - 100} {
			at := offset
			if at < 0 {
				at = max(0, at+end)
			}
			want := all[min(at, end):]
			q := make([]byte, 1<<16)
			n, end2, err := c.ConsoleLog(s.ctx, id, offset, q)
			if err != nil || end2 != end || !bytes.Equal(q[:n], want) {
				s.Errorf("offset %d: %q, end %d, %v; want %q, end %d", offset, q[:n], end2, err, want, end)
			}
		}
		if n, _, err := c.ConsoleLog(s.ctx, id, 0, p[:4]); n != 4 || err != nil || !bytes.Equal(p[:4], all[:4]) {
			s.Errorf("a short read: %d, %v", n, err)
		}
	}},

	// All consoles of a machine see what it prints from then on, each may be
	// closed by itself, and they end with io.EOF when the machine does.
	{name: "Console", test: func(s *suite) {
		c := ability[driver.Consoler](s)
		r := ability[driver.Resetter](s)
		id := s.started(1)
		s.logged(id, 0, s.cfg.Banner)
		var open []io.ReadWriteCloser
		for range 3 {
			con, err := c.Console(s.ctx, id)
			s.must(err)
			open = append(open, con)
		}
		s.must(open[0].Close())
		if _, err := open[0].Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			s.Errorf("reading a closed console: %v", err)
		}
		s.must(r.Reset(s.ctx, id))
		for _, con := range open[1:] {
			s.reads(con, s.cfg.Banner)
		}
		if _, err := io.WriteString(open[1], "x"); err != nil {
			s.Errorf("typing: %v", err)
		}
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		for _, con := range open[1:] {
			if _, err := io.Copy(io.Discard, con); err != nil {
				s.Errorf("the end of a console: %v", err)
			}
			if _, err := io.WriteString(con, "x"); err == nil {
				s.Error("typing on a machine that is off is nil")
			}
			s.must(con.Close())
		}
		s.must(s.h.Start(s.ctx, id))
		con, err := c.Console(s.ctx, id)
		s.must(err)
		s.must(con.Close())
	}},

	// A console that nobody reads does not stop the machine, and Close of the
	// driver ends it.
	{name: "ConsoleUnread", test: func(s *suite) {
		c := ability[driver.Consoler](s)
		r := ability[driver.Resetter](s)
		id := s.started(1)
		_, err := c.Console(s.ctx, id)
		s.must(err)
		end := int64(0)
		for range 3 {
			end = s.logged(id, end, s.cfg.Banner)
			s.must(r.Reset(s.ctx, id))
		}
		s.logged(id, end, s.cfg.Banner)
	}},
}

// logged waits for text in the console log after an offset, and returns the
// offset behind it.
func (s *suite) logged(id string, offset int64, text string) int64 {
	s.Helper()
	c := ability[driver.Consoler](s)
	p := make([]byte, 1<<20)
	for {
		n, end, err := c.ConsoleLog(s.ctx, id, offset, p)
		s.must(err)
		if i := bytes.Index(p[:n], []byte(text)); i >= 0 {
			return offset + int64(i+len(text))
		}
		select {
		case <-s.ctx.Done():
			s.Fatalf("no %q in the console log from %d to %d: %q", text, offset, end, p[:n])
		case <-time.After(20 * time.Millisecond): // there is no hint for output
		}
	}
}

// reads reads a console until text came.
func (s *suite) reads(c io.Reader, text string) {
	s.Helper()
	var got []byte
	p := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := c.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			s.Fatalf("no %q on the console: %v after %q", text, err, got)
		}
	}
}
