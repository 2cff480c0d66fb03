package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/backlog"
)

// keepOutput is how many bytes a console holds for a slow reader.
const keepOutput = 64 << 10

// console is one open console. The Host's lock guards it.
type console struct {
	m      *machine
	output *backlog.Backlog
}

// Console implements driver.Consoler; ctx bounds the opening only.
func (v *Hypervisor) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var c *console
	err := v.with(ctx, "Console", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "open the console of")
		}
		c = &console{m: m, output: backlog.New(&v.host.mu, keepOutput)}
		m.consoles = append(m.consoles, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ConsoleLog implements driver.Consoler.
func (v *Hypervisor) ConsoleLog(ctx context.Context, id string, offset int64, p []byte) (n int, end int64, err error) {
	err = v.with(ctx, "ConsoleLog", id, func(m *machine) error { n, end = m.read(offset, p); return nil })
	return n, end, err
}

// Read waits for output. It ends with io.EOF when the machine is off.
func (c *console) Read(p []byte) (int, error) { return c.output.Read(p) }

// Write types on the console.
func (c *console) Write(p []byte) (int, error) {
	c.m.host.mu.Lock()
	defer c.m.host.mu.Unlock()
	if err := writable(c.output, "console", c.m); err != nil {
		return 0, err
	}
	c.m.typed = append(c.m.typed, p...)
	answer := p
	if c.m.guest.Answer != nil {
		answer = c.m.guest.Answer(p)
	}
	c.m.print(answer)
	c.m.do(c.m.guest.Commands[string(p)])
	return len(p), nil
}

// Close ends this console alone.
func (c *console) Close() error {
	c.m.host.mu.Lock()
	defer c.m.host.mu.Unlock()
	c.output.Drop(closed("console", c.m))
	c.m.consoles = slices.DeleteFunc(c.m.consoles, func(o *console) bool { return o == c })
	return nil
}

// writable says why nobody hears any more what is said to a console or a screen.
func writable(output *backlog.Backlog, what string, m *machine) error {
	err := output.Err()
	if err == nil || errors.Is(err, fs.ErrClosed) {
		return err
	}
	return fmt.Errorf("fake: %s of %s: machine is off: %w", what, m.spec.ID, driver.ErrState)
}

func closed(what string, m *machine) error {
	return fmt.Errorf("fake: %s of %s: %w", what, m.spec.ID, fs.ErrClosed)
}
