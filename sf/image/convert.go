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
	convertMemory = 1 << 30 // address space, bytes
	convertCPU    = 30 * 60 // seconds
)

// convert rewrites an image in a foreign format as qcow2, by qemu-img: told the
// format, with an empty environment, in a directory of its own, within limits of
// memory, time and output.
func (c *Cache) convert(ctx context.Context, format, from, to string) error {
	program := c.config.QemuImg
	if program == "" {
		var err error
		if program, err = exec.LookPath("qemu-img"); err != nil {
			return fmt.Errorf("%w: it is %s, and converting that needs qemu-img; install qemu-utils or publish it as qcow2",
				ErrFormat, strings.ToUpper(format))
		}
	}
	cmd := exec.CommandContext(ctx, program, "convert", "-f", format, "-O", "qcow2", from, to)
	cmd.Dir = filepath.Dir(to)
	cmd.Env = []string{"LC_ALL=C", "TMPDIR=" + cmd.Dir}
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := runLimited(cmd, c.config.MaxImage); err != nil {
		os.Remove(to)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if rerr := c.room(0); rerr != nil {
			return rerr
		}
		said := strings.ReplaceAll(strings.TrimSpace(text.String()), c.dir+string(filepath.Separator), "")
		return fmt.Errorf("%w: qemu-img cannot convert it from %s: %w: %.300s", ErrFormat, format, err, said)
	}
	return nil
}
