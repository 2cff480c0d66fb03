package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/qemu/internal/qmp"
)

// errMute: the emulator is there but nobody talks to it at the moment.
var errMute = errors.New("the emulator does not answer")

// session is one QEMU process and our side of it. Its one goroutine, run, waits
// for the end of the process, keeps its monitor connected, and asks for its state
// whenever an event hints at a change.
type session struct {
	m       *machine
	child   *child
	console *port
	poke    chan struct{} // holds a token while the state should be asked for
	met     chan struct{} // closed after the first try to connect
	gone    chan struct{} // closed when the process is gone and its end recorded

	// asking serialises questions for the state with what is concluded from the
	// answer, so that an old answer never overwrites a newer one.
	asking sync.Mutex

	mu     sync.Mutex
	client *qmp.Client // nil while not connected
	hint   string      // what QEMU last said of an end or an error
}

func newSession(m *machine, c *child) *session {
	s := &session{
		m: m, child: c, poke: make(chan struct{}, 1),
		met: make(chan struct{}), gone: make(chan struct{}),
	}
	s.console = newPort(s)
	return s
}

// run lasts as long as the process or the driver.
func (s *session) run() {
	h := s.m.h
	exit := make(chan string, 1)
	h.work.Go(func() {
		if how, err := s.child.wait(); err == nil {
			exit <- how
		}
	})
	retry := time.NewTimer(h.cfg.Every)
	defer retry.Stop()
	if s.connected() == nil {
		retry.Reset(0)
	} else {
		close(s.met)
	}
	for {
		var lost <-chan struct{}
		if c := s.connected(); c != nil {
			lost = c.Done()
		}
		select {
		case how := <-exit:
			s.end(how)
			return
		case <-h.ctx.Done():
			s.detach()
			return
		case <-lost:
			s.drop()
			retry.Reset(h.cfg.Every / 10)
		case <-retry.C:
			s.reconnect(retry)
		case <-s.poke:
			s.sync(h.ctx)
		}
	}
}

// reconnect tries once, and again later if need be.
func (s *session) reconnect(retry *time.Timer) {
	if s.connected() != nil {
		return
	}
	err := s.connect(s.m.h.ctx)
	if err == nil {
		err = s.sync(s.m.h.ctx)
	}
	if err != nil {
		s.m.h.cfg.Log.Warn("a machine's emulator does not answer", "machine", s.m.id, "pid", s.child.PID, "error", err)
		retry.Reset(s.m.h.cfg.Every)
	}
	select {
	case <-s.met:
	default:
		close(s.met)
	}
}

// connect opens the monitor and makes sure whose it is.
func (s *session) connect(ctx context.Context) error {
	ctx, cancel := s.m.h.bounded(ctx)
	defer cancel()
	conn, err := dial(ctx, s.m.h.reg.path(s.m.id, "qmp"), s.m.h.cfg.Timeout)
	if err != nil {
		return err
	}
	c, err := qmp.Connect(ctx, conn, s.event)
	if err != nil {
		return err
	}
	var reply struct{ UUID string }
	err = c.Execute(ctx, "query-uuid", nil, &reply)
	if err == nil && reply.UUID != s.m.id {
		err = fmt.Errorf("the monitor is that of machine %s", reply.UUID)
	}
	if err != nil {
		c.Close()
		return err
	}
	s.mu.Lock()
	s.client = c
	s.mu.Unlock()
	return nil
}

func (s *session) connected() *qmp.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (s *session) drop() {
	s.mu.Lock()
	c := s.client
	s.client = nil
	s.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// execute runs one monitor command within the driver's time limit.
func (s *session) execute(ctx context.Context, command string, reply any) error {
	c := s.connected()
	if c == nil {
		return fmt.Errorf("%s: %w", command, errMute)
	}
	ctx, cancel := s.m.h.bounded(ctx)
	defer cancel()
	return c.Execute(ctx, command, nil, reply)
}

// event notes what only an event tells, and has the rest asked for.
func (s *session) event(e qmp.Event) {
	var data struct {
		Reason string
		Action string
		Device string
	}
	json.Unmarshal(e.Data, &data)
	switch e.Name {
	case "SHUTDOWN":
		s.mu.Lock()
		s.hint = data.Reason
		s.mu.Unlock()
	case "STOP", "RESUME", "RESET", "BLOCK_IO_ERROR", "GUEST_PANICKED":
	default:
		return
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// sync asks for the state and records it, and acts where a state asks for it.
func (s *session) sync(ctx context.Context) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	var reply struct{ Status string }
	if err := s.execute(ctx, "query-status", &reply); err != nil {
		return err
	}
	switch reply.Status {
	case "running", "suspended":
		return s.is(driver.Running, "")
	case "paused":
		return s.is(driver.Paused, "")
	case "io-error":
		return s.is(driver.Stalled, s.diskError(ctx))
	case "shutdown":
		return s.down(ctx)
	case "prelaunch":
		return s.unborn(ctx)
	case "internal-error", "guest-panicked":
		s.verdict(driver.Crashed, "the emulator stopped with "+reply.Status)
		return s.child.kill()
	}
	return nil // passing through
}

func (s *session) is(state driver.State, reason string) error {
	return s.change(func(r *record) { r.State, r.Reason = state, reason })
}

// verdict decides what the machine will be called when its process is gone. The
// first one stands. It need not survive a power failure: the process does not.
func (s *session) verdict(state driver.State, reason string) error {
	return s.change(func(r *record) {
		if r.Verdict == nil {
			r.Verdict = &verdict{state, reason}
		}
	})
}

// change edits the record as long as it is about this session's process: what
// was learned of one that is gone by now must not touch the next.
func (s *session) change(edit func(*record)) error {
	return s.m.change(false, func(r *record) {
		if s.m.session == s {
			edit(r)
		}
	})
}

// down is a guest that shut itself down, in a QEMU that waits for us.
func (s *session) down(ctx context.Context) error {
	s.m.mu.Lock()
	reboot := s.m.rec.RebootBy.After(s.m.h.cfg.Now()) && s.m.rec.Verdict == nil
	s.m.mu.Unlock()
	if reboot {
		if err := s.execute(ctx, "system_reset", nil); err != nil {
			return err
		}
		return s.reborn(ctx)
	}
	s.verdict(driver.Stopped, "the guest shut down")
	if s.execute(ctx, "quit", nil) != nil {
		return s.child.kill()
	}
	return nil
}

func (s *session) reborn(ctx context.Context) error {
	if err := s.execute(ctx, "cont", nil); err != nil {
		return err
	}
	return s.change(func(r *record) {
		r.State, r.Reason, r.RebootBy = driver.Running, "", time.Time{}
		r.Boot++
	})
}

// unborn is a QEMU that was started or reset but never told to run, because the
// process that should have told it ended in between.
func (s *session) unborn(ctx context.Context) error {
	s.m.mu.Lock()
	reboot := !s.m.rec.RebootBy.IsZero() && s.m.rec.Verdict == nil
	s.m.mu.Unlock()
	if reboot {
		return s.reborn(ctx)
	}
	s.verdict(driver.Defined, "its start was interrupted")
	return s.child.kill()
}

// diskError says which disk stopped the machine.
func (s *session) diskError(ctx context.Context) string {
	var blocks []struct {
		Device   string `json:"qdev"`
		IOStatus string `json:"io-status"`
	}
	s.execute(ctx, "query-block", &blocks)
	for _, b := range blocks {
		if b.IOStatus == "nospace" {
			return fmt.Sprintf("%s: no space left on the host", b.Device)
		} else if b.IOStatus == "failed" {
			return fmt.Sprintf("%s: write error", b.Device)
		}
	}
	return "disk error"
}

// end records the end of the process.
func (s *session) end(how string) {
	s.drop()
	s.child.close()
	s.console.end()
	s.m.h.cleanup(s.m.id)
	s.m.conclude(s.ending(how))
	close(s.gone)
}

// ending says for people how a process ended that nobody asked to.
func (s *session) ending(how string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := "the emulator ended"
	if how != "" {
		text += ": " + how
	}
	if s.hint != "" {
		text += ", " + s.hint
	}
	return text
}

// conclude records that a machine is off: by the verdict on it, or as crashed for
// the reason given. An end that was not ours is kept even over a power failure,
// lest somebody starts again what a guest shut down.
func (m *machine) conclude(otherwise string) error {
	return m.update(func(r *record) (durable bool) {
		v := r.Verdict
		if v == nil {
			v = &verdict{driver.Crashed, otherwise}
		}
		m.session = nil
		r.State, r.Reason = v.State, v.Reason
		r.Process, r.Verdict, r.RebootBy = nil, nil, time.Time{}
		return v.State != driver.Defined
	})
}

// detach lets go of a machine that lives on.
func (s *session) detach() {
	s.drop()
	s.child.close()
	s.console.detach()
}

// await waits for the process to be gone, at most as long as the limits allow.
func (s *session) await(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("process %d is still there after %v", s.child.PID, limit)
	}
}
