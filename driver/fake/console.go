package fake

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/shakenfist/cloud/driver"
)

// keepOutput is how many bytes a console holds for a slow reader.
const keepOutput = 64 << 10

// console is one open console. The Host's lock guards it.
type console struct {
	m      *machine
	wake   *sync.Cond
	buf    []byte
	ended  bool // the machine is off
	closed bool
}

// Console implements driver.Consoler; ctx bounds the opening only.
func (v *Hypervisor) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var c *console
	err := v.with(ctx, "Console", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "open the console of")
		}
		c = &console{m: m, wake: sync.NewCond(&v.host.mu)}
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

// feed drops the oldest output when the reader is too slow.
func (c *console) feed(p []byte) {
	c.buf = append(c.buf, p...)
	if over := len(c.buf) - keepOutput; over > 0 {
		c.buf = append([]byte(nil), c.buf[over:]...)
	}
	c.wake.Broadcast()
}

// Read waits for output. It ends with io.EOF when the machine is off.
func (c *console) Read(p []byte) (int, error) {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	for len(c.buf) == 0 && !c.ended && !c.closed && len(p) > 0 {
		c.wake.Wait()
	}
	switch {
	case c.closed:
		return 0, fmt.Errorf("fake: console of %s: %w", c.m.spec.ID, fs.ErrClosed)
	case len(c.buf) == 0 && c.ended:
		return 0, io.EOF
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// Write types on the console.
func (c *console) Write(p []byte) (int, error) {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	if c.closed {
		return 0, fmt.Errorf("fake: console of %s: %w", c.m.spec.ID, fs.ErrClosed)
	}
	if c.ended {
		return 0, fmt.Errorf("fake: console of %s: machine is off: %w", c.m.spec.ID, driver.ErrState)
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
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	c.closed = true
	c.m.consoles = slices.DeleteFunc(c.m.consoles, func(o *console) bool { return o == c })
	c.wake.Broadcast()
	return nil
}
