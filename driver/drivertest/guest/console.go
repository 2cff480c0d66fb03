package guest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Console drives the guest's serial console: it waits for what the guest says,
// and types commands. Make one with NewConsole. Its methods may be called by one
// goroutine at a time; Transcript by any.
type Console struct {
	w io.Writer

	mu      sync.Mutex
	all     []byte        // everything read, without carriage returns
	read    int           // how much of it the methods have passed
	err     error         // why reading ended
	changed chan struct{} // closed and replaced when one of the above changes
	command int           // number of the last command
}

// NewConsole reads from rw until it ends, in a goroutine of its own: close the
// underlying connection to stop it.
func NewConsole(rw io.ReadWriter) *Console {
	c := &Console{w: rw, changed: make(chan struct{})}
	go c.reader(rw)
	return c
}

func (c *Console) reader(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		c.mu.Lock()
		for _, b := range buf[:n] {
			if b != '\r' {
				c.all = append(c.all, b)
			}
		}
		c.err = err
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Transcript returns everything that the guest has written so far.
func (c *Console) Transcript() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.all)
}

// wait calls found with what has not been passed yet, again whenever there is
// more, until it reports how much of it to pass (negative is nothing yet).
func (c *Console) wait(ctx context.Context, what string, found func(text string) int) error {
	for {
		c.mu.Lock()
		n := found(string(c.all[c.read:]))
		if n >= 0 {
			c.read += n
			c.mu.Unlock()
			return nil
		}
		err, changed := c.err, c.changed
		c.mu.Unlock()
		if err == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		return fmt.Errorf("guest: waiting for %s on the console: %w; it says:\n%s", what, err, c.tail())
	}
}

func (c *Console) tail() string {
	lines := strings.Split(c.Transcript(), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// Expect waits until the guest has written text, passes it, and returns what came
// before. The error at the end of ctx or of the connection shows the last lines.
func (c *Console) Expect(ctx context.Context, text string) (string, error) {
	var before string
	err := c.wait(ctx, strconv.Quote(text), func(s string) int {
		i := strings.Index(s, text)
		if i < 0 {
			return -1
		}
		before = s[:i]
		return i + len(text)
	})
	return before, err
}

// Line waits for a whole line that begins with prefix, passes it, and returns it.
func (c *Console) Line(ctx context.Context, prefix string) (string, error) {
	var line string
	err := c.wait(ctx, "a line "+strconv.Quote(prefix+"…"), func(s string) int {
		pos := 0
		for {
			i := strings.IndexByte(s[pos:], '\n')
			if i < 0 {
				return -1
			}
			line = s[pos : pos+i]
			pos += i + 1
			if strings.HasPrefix(line, prefix) {
				return pos
			}
		}
	})
	return line, err
}

// Report waits for the next line "sfguest: words… key=value…" and returns its
// values by key: Report(ctx, "dhcp eth0")["address"], for instance.
func (c *Console) Report(ctx context.Context, words string) (map[string]string, error) {
	line, err := c.Line(ctx, "sfguest: "+words+" ")
	if err != nil {
		return nil, err
	}
	return fields(line), nil
}

func fields(line string) map[string]string {
	values := map[string]string{}
	for word := range strings.FieldsSeq(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			values[key] = value
		}
	}
	return values
}

// Login waits for the login prompt and gets a shell for Run.
func (c *Console) Login(ctx context.Context) error {
	if _, err := c.Expect(ctx, " login: "); err != nil {
		return err
	}
	return c.Attach(ctx)
}

// askAgain is how long Attach waits for an answer before it types once more: what is
// typed while a guest boots may be lost.
const askAgain = 3 * time.Second

// Attach gets a shell for Run from a guest that is up or will be, whether a login
// prompt or an earlier shell is there.
func (c *Console) Attach(ctx context.Context) error {
	for n := 1; ; n++ {
		// No echo, no prompts, no messages of the kernel: only what commands write.
		// What is echoed of this line is not what it writes.
		if err := c.send(fmt.Sprintf("\nstty -echo; PS1= PS2=; dmesg -n 1; printf 'sfguest-%%s-%%d\\n' attached %d\n", n)); err != nil {
			return err
		}
		// Answers come in the order of the questions: none is left behind this one's.
		patient, cancel := context.WithTimeout(ctx, askAgain)
		_, err := c.Expect(patient, fmt.Sprintf("sfguest-attached-%d\n", n))
		late := patient.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !late {
			return err
		}
	}
}

// Run runs a shell command and returns what it wrote and its exit status. It
// reads nothing. A command that goes on when ctx ends keeps the shell; Run is of
// no use from then on.
func (c *Console) Run(ctx context.Context, command string) (output string, status int, err error) {
	c.command++
	end := fmt.Sprintf("\nsfguest-done-%d ", c.command)
	line := fmt.Sprintf("{\n%s\n} </dev/null 2>&1; printf '\\nsfguest-done-%%d %%d\\n' %d $?\n", command, c.command)
	if err := c.send(line); err != nil {
		return "", 0, err
	}
	if output, err = c.Expect(ctx, end); err != nil {
		return output, 0, fmt.Errorf("guest: run %q: %w", command, err)
	}
	code, err := c.Expect(ctx, "\n")
	if err == nil {
		status, err = strconv.Atoi(code)
	}
	return output, status, err
}

func (c *Console) send(text string) error {
	if _, err := io.WriteString(c.w, text); err != nil {
		return fmt.Errorf("guest: write to the console: %w", err)
	}
	return nil
}
