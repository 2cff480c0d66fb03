package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Limits of the converter, which reads a stranger's bytes.
const (
	convertMemory = 2 << 30 // address space, bytes: stacks of up to 64 threads and tables
	convertCPU    = 30 * 60 // seconds
)

// convert rewrites an image in a foreign format as qcow2, by qemu-img: told the
// format, with an empty environment, in a directory of its own, as nobody where we are
// root, within limits of memory, time and output. most is how much it may become in proportion to what was
// downloaded: formats can say of many clusters that they are the same.
func (c *Cache) convert(ctx context.Context, format, from, to string, most int64) error {
	program := c.config.QemuImg
	if program == "" {
		var err error
		if program, err = exec.LookPath("qemu-img"); err != nil {
			return fmt.Errorf("%w: it is %s, and converting that needs qemu-img; install qemu-utils or publish it as qcow2",
				ErrFormat, strings.ToUpper(format))
		}
	}
	room, err := c.outputLimit()
	if err != nil {
		return err
	}
	limit := min(room, most)
	cmd := exec.CommandContext(ctx, program, "convert", "-f", format, "-O", "qcow2")
	release, err := confine(cmd, from, to)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	cmd.Stderr = &text
	err = runLimited(cmd, limit)
	if rerr := release(); err == nil {
		err = rerr
	}
	if err != nil {
		os.Remove(to)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case outputExceeded(err, text.String()) && limit == c.config.MaxImage:
			return fmt.Errorf("%w: more than %s when converted", ErrTooLarge, bytesText(limit))
		case outputExceeded(err, text.String()) && limit == most:
			return fmt.Errorf("%w: it converts to more than %s, which is out of proportion", ErrTooLarge, bytesText(limit))
		case outputExceeded(err, text.String()):
			return &spaceError{need: limit, text: fmt.Sprintf("converted it needs more than %s in %s", bytesText(limit), c.dir)}
		}
		said := strings.ReplaceAll(strings.TrimSpace(text.String()), c.dir+string(filepath.Separator), "")
		return fmt.Errorf("%w: qemu-img cannot convert it from %s: %w: %.300s", ErrFormat, format, err, said)
	}
	return c.takeOver(ctx, to)
}

// takeOver makes a file of another user's ours, with nobody left who could change it.
func (c *Cache) takeOver(ctx context.Context, path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: the converter made %s", ErrUnsafe, st.Mode().Type())
	}
	if err := own(path, st); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.quiet(ctx, f)
}

// outputLimit is how large the converted file may become: MaxImage, or what the
// file system can spare.
func (c *Cache) outputLimit() (int64, error) {
	if err := c.room(0); err != nil {
		return 0, err
	}
	_, free, err := fileSystem(c.dir)
	return min(c.config.MaxImage, free-c.config.Reserve), err
}
