package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shakenfist/cloud/driver/internal/console"
	"github.com/shakenfist/cloud/driver/internal/socket"
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
	console *console.Port
	screen  screen
	poke    chan struct{} // holds a token while the state should be asked for
	met     chan struct{} // closed after the first try to connect
	gone    chan struct{} // closed when the process is gone and its end recorded

	// asking serialises questions for the state with what is concluded from the
	// answer, so that an old answer never overwrites a newer one. It guards answered.
	asking   sync.Mutex
	hints    atomic.Int64 // events that hinted at a change, and failures to ask
	answered int64        // of them, known to be before the last question that was settled

	mu     sync.Mutex
	client *qmp.Client // nil while not connected
	hint   string      // what QEMU last said of an end
	full   bool        // it is stalled for want of room, and not by another error
}

func newSession(m *machine, c *child) *session {
	s := &session{
		m: m, child: c, poke: make(chan struct{}, 1),
		met: make(chan struct{}), gone: make(chan struct{}),
	}
	s.console = newConsole(m.h, m.id)
	return s
}

// run lasts as long as the process or the driver.
func (s *session) run() {
	h := s.m.h
	exit := make(chan string, 1)
	h.calls.Go(func() {
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
		case <-h.calls.Context().Done():
			s.detach()
			return
		case <-lost:
			s.drop()
			retry.Reset(h.cfg.Every / 10)
		case <-retry.C:
			s.reconnect(retry)
		case <-s.poke:
			s.heed(retry)
		}
	}
}

// heed asks what events hinted at, and again later where no answer came: there is no
// other word of a guest that shut down, or that a full disk stopped.
func (s *session) heed(retry *time.Timer) {
	if err := s.hinted(s.m.h.calls.Context()); err != nil {
		s.m.h.cfg.Log.Warn("a machine's emulator does not tell its state", "machine", s.m.id, "pid", s.child.PID, "error", err)
		retry.Reset(s.m.h.cfg.Every)
	}
}

// reconnect tries once, and again later if need be. A connection that stands has a
// question open.
func (s *session) reconnect(retry *time.Timer) {
	if s.connected() != nil {
		s.heed(retry)
		return
	}
	err := s.connect(s.m.h.calls.Context())
	if err == nil {
		err = s.sync(s.m.h.calls.Context())
	}
	if err != nil {
		s.hints.Add(1) // the state is not known, though the connection may stand by now
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
	conn, err := socket.Dial(ctx, s.m.h.reg.path(s.m.id, "qmp"), s.m.h.cfg.Timeout)
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
	return s.ask(ctx, command, nil, reply, nil)
}

// ask is execute of a command with arguments, and with a file unless f is nil.
func (s *session) ask(ctx context.Context, command string, args, reply any, f *os.File) error {
	c := s.connected()
	if c == nil {
		return fmt.Errorf("%s: %w", command, errMute)
	}
	ctx, cancel := s.m.h.bounded(ctx)
	defer cancel()
	return c.ExecuteFile(ctx, command, args, reply, f)
}

// event notes what only an event tells, and has the rest asked for.
func (s *session) event(e qmp.Event) {
	var data struct {
		Guest  bool // did it
		Reason string
		Action string
		Device string
		Status string // of a job
	}
	json.Unmarshal(e.Data, &data)
	switch e.Name {
	case "SHUTDOWN":
		s.mu.Lock()
		s.hint = data.Reason
		s.mu.Unlock()
	case "JOB_STATUS_CHANGE":
		if data.Status == "concluded" {
			s.m.h.calls.Go(s.afterJob)
		}
		return
	case "RESET":
		if data.Guest { // which changes no state
			s.m.h.calls.Go(func() { s.change(restarted) })
		}
	case "STOP", "RESUME", "BLOCK_IO_ERROR", "GUEST_PANICKED":
	default:
		return
	}
	s.hints.Add(1)
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// end records the end of the process.
func (s *session) end(how string) {
	s.drop()
	s.child.close()
	s.console.End()
	s.screen.end()
	s.m.h.cleanup(s.m.id)
	s.m.conclude(s.ending(how))
	close(s.gone)
}

// detach lets go of a machine that lives on.
func (s *session) detach() {
	s.drop()
	s.child.close()
	s.console.Close()
	s.screen.detach()
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
