package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// ConsoleLog returns the last n bytes of an instance's console log; all that is
// kept where n is negative.
func (a *Agent) ConsoleLog(ctx context.Context, id string, n int64) ([]byte, error) {
	c, ok := driver.As[driver.Consoler](a.Hypervisor)
	if !ok {
		return nil, spec.Errorf(spec.ErrUnavailable, "this node's hypervisor has no console").About("instance", id)
	}
	if n == 0 {
		return nil, nil
	}
	// The log's end is no bound of what is kept of it: that is found out by reading.
	for size := int64(firstPiece); ; size *= 2 {
		offset := -n
		if n < 0 {
			offset = 0
		} else {
			size = min(size, n)
		}
		p := make([]byte, size)
		got, _, err := c.ConsoleLog(ctx, id, offset, p)
		if errors.Is(err, driver.ErrNotFound) {
			return nil, nil // not built yet
		}
		if err != nil || int64(got) < size || size == n {
			return p[:got], err
		}
	}
}

// firstPiece is how much of a console log is asked for at first, in bytes.
const firstPiece = 64 << 10

// Console opens an instance's console.
func (a *Agent) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	c, ok := driver.As[driver.Consoler](a.Hypervisor)
	if !ok {
		return nil, spec.Errorf(spec.ErrUnavailable, "this node's hypervisor has no console").About("instance", id)
	}
	rwc, err := c.Console(ctx, id)
	if errors.Is(err, driver.ErrNotFound) || errors.Is(err, driver.ErrState) {
		return nil, spec.Errorf(spec.ErrConflict, "the instance is not running, so it has no console now").About("instance", id).Because(err)
	}
	return rwc, err
}

// consoleState is how far an instance's console log was read.
type consoleState struct {
	known  bool
	offset int64
	line   []byte // the last line so far
	told   bool   // that line was a prompt and there was an event for it
	quiet  int    // looks in a row without output

	untold bool  // there was a prompt, and no event yet
	boots  int64 // the boot of it
}

// How often consoles are looked at: while there is output, and when there has
// been none for long.
const (
	consoleSoon  = 200 * time.Millisecond
	consoleLater = 5 * time.Second
	quietLooks   = 300
)

// watchConsole turns a login prompt on an instance's console into an event.
func (a *Agent) watchConsole(ctx context.Context, id string) (time.Duration, error) {
	c, ok := driver.As[driver.Consoler](a.Hypervisor)
	if !ok {
		return never, nil
	}
	m, err := a.Hypervisor.Inspect(ctx, id)
	if err != nil || !m.State.On() {
		return never, ignore(err, driver.ErrNotFound)
	}
	if !a.isReported(id, m.Boot+m.Resets) { // a prompt is to be told after its boot
		a.queue.Add(keyInstance + id)
		return consoleSoon, nil
	}
	state := &a.of(id).console // only ever used under this key
	if !state.known {
		// After a restart what is in the log was told already.
		i, err := a.load(ctx, id)
		if err != nil {
			return never, nil
		}
		_, end, err := c.ConsoleLog(ctx, id, 0, nil)
		if err != nil {
			return never, ignore(err, driver.ErrNotFound)
		}
		state.known = true
		if told, err := a.toldSince(ctx, i); err != nil || told {
			state.offset = end
		}
	}
	if state.boots != m.Boot+m.Resets {
		state.untold, state.boots = false, m.Boot+m.Resets
	}
	prompts, err := state.read(ctx, c, id)
	state.untold = state.untold || prompts > 0
	if err != nil {
		return never, ignore(err, driver.ErrNotFound)
	}
	if state.untold { // one event a look, however many a guest prints
		t := a.Records.Begin()
		if err := a.Records.Event(ctx, t, a.event(spec.KindInstance, id, "trigger", "", "login prompt")); err != nil {
			return 0, err
		}
		if _, err := a.Records.Commit(ctx, t); err != nil {
			return 0, err // what was read is not read again, but it is told when this is tried again
		}
		state.untold = false
	}
	if state.quiet > quietLooks {
		return consoleLater, nil
	}
	return consoleSoon, nil
}

// isReported reports whether the status tells of this boot of the guest.
func (a *Agent) isReported(id string, boots int64) bool {
	m := a.of(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	return m.boots == boots
}

// toldSince reports whether this instance had its login prompt before.
func (a *Agent) toldSince(ctx context.Context, i *spec.Instance) (bool, error) {
	events, err := eventsOf(ctx, a.Records, i.UUID)
	for _, e := range events {
		if e.Operation == "trigger" {
			return true, err
		}
	}
	return false, err
}

func eventsOf(ctx context.Context, c *record.Client, id string) ([]spec.Event, error) {
	list, _, _, err := record.List[spec.Event](ctx, c, record.EventPrefix(spec.KindInstance, id), store.Page{})
	events := make([]spec.Event, len(list))
	for i, o := range list {
		events[i] = o.Value
	}
	return events, err
}

// mostOutput is how much of a console's output is read at a look, in bytes, and of
// more the last: a guest that prints all the time keeps nobody busy.
const mostOutput = 256 << 10

// read takes what the console has printed from the last look to this one and counts
// the login prompts in it. A prompt counts once, though its line is not complete.
func (s *consoleState) read(ctx context.Context, c driver.Consoler, id string) (prompts int, err error) {
	p := make([]byte, 16<<10)
	for until := int64(-1); until < 0 || s.offset < until; {
		n, end, err := c.ConsoleLog(ctx, id, s.offset, p)
		if err != nil {
			return prompts, err
		}
		if first := until < 0; first {
			until = end
			if end-s.offset > mostOutput {
				s.offset, s.line, s.told = end-mostOutput, s.line[:0], false
				continue
			}
		}
		if n == 0 {
			s.quiet++
			s.offset = end
			return prompts, nil
		}
		s.quiet = 0
		s.offset += int64(n)
		prompts += s.scan(p[:n])
	}
	return prompts, nil
}

// maxLine bounds what is kept of a line: a prompt is at its end.
const maxLine = 1024

func (s *consoleState) scan(p []byte) (prompts int) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		s.line = append(s.line, part...)
		if over := len(s.line) - maxLine; over > 0 {
			s.line = append(s.line[:0], s.line[over:]...)
		}
		if !s.told && isPrompt(s.line) {
			s.told = true
			prompts++
		}
		if end < 0 {
			break
		}
		s.line, s.told = s.line[:0], false
		p = p[end+1:]
	}
	return prompts
}

// isPrompt reports whether a line asks for a user's name: "host login: ".
func isPrompt(line []byte) bool {
	return bytes.Contains(line, []byte(" login: ")) && !bytes.Contains(line, []byte("Last login: "))
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
