package qemu_test

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
)

// What a guest does to itself is told as it happens: a restart, which changes no
// state, an end by its own wish, and one by its emulator's.
func TestGuestNoticed(t *testing.T) {
	l := newLab(t, nil)
	s := pc.Guest(t, l.dir, 1)
	st := l.run(s)
	events, err := l.h.Events(l.ctx)
	l.must(err)
	defer events.Close()
	booted := int64(0) // offset in the console log
	for _, tt := range []struct {
		what   string
		act    func()
		state  driver.State
		reason string
	}{
		{"restart", func() { l.types(s.ID, "\nreboot -f\n") }, driver.Running, "restarted"},
		{"shutdown", func() { l.types(s.ID, "\npoweroff -f\n") }, driver.Stopped, "shut down"},
		{"crash", func() { l.must(syscall.Kill(st.PID, syscall.SIGKILL)) }, driver.Crashed, "SIGKILL"},
	} {
		if !l.on(s.ID) {
			l.must(l.h.Start(l.ctx, s.ID))
			st = l.is(s.ID, driver.Running)
		}
		booted = l.prompts(s.ID, booted)
		begun := time.Now()
		tt.act()
		for {
			e, err := events.Next(l.ctx)
			l.must(err)
			if e.ID == s.ID && e.State == tt.state && strings.Contains(e.Reason, tt.reason) {
				break
			}
		}
		t.Logf("%s: told %v after it was asked for", tt.what, time.Since(begun).Round(time.Millisecond))
		l.is(s.ID, tt.state)
	}
}

func (l *lab) on(id string) bool {
	l.Helper()
	st, err := l.h.Inspect(l.ctx, id)
	l.must(err)
	return st.State.On()
}

// prompts waits for the guest's prompt behind an offset of its console log, and
// returns the log's end.
func (l *lab) prompts(id string, from int64) (end int64) {
	l.Helper()
	p := make([]byte, 1<<20)
	l.eventually("a prompt", func() bool {
		n, to, err := l.h.ConsoleLog(l.ctx, id, from, p)
		l.must(err)
		end = to
		return strings.Contains(string(p[:n]), " login: ")
	})
	return end
}

func (l *lab) types(id, text string) {
	l.Helper()
	c, err := l.h.Console(l.ctx, id)
	l.must(err)
	_, err = io.WriteString(c, text)
	l.must(err)
	l.must(c.Close())
}
