package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
)

// partial is the name of a file that is not complete: it tells of which disk it is a
// part, so that a download under the same name never goes on with another's.
func partial(name, id, device string) string { return name + "." + id + "-" + device + ".part" }

func (a *app) download() *cobra.Command {
	c := &cobra.Command{
		Use:   "download SNAPSHOT [DEVICE]",
		Short: "Download a disk of a snapshot, a qcow2 image",
		Long: `Download a disk of a snapshot, a qcow2 image.

DEVICE is the first disk, the one that boots, unless given. What was downloaded
before the command was interrupted is kept in a file beside it that ends with
.SNAPSHOT-DEVICE.part; the same command again goes on from there.`,
		Example: "  sf-client snapshot download SNAPSHOT\n  sf-client snapshot download SNAPSHOT vdc -o data.qcow2\n  sf-client snapshot download SNAPSHOT -o - | ssh backup 'cat > vm.qcow2'",
		Args:    optionally("SNAPSHOT"),
	}
	output := c.Flags().StringP("output", "o", "", "the file to write, - for standard output (default UUID-DEVICE.qcow2)")
	return a.on(snapshotNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		a.piping = *output == "-"
		s, err := cl.SnapshotByID(ctx, args[0])
		if err != nil {
			return err
		}
		if len(s.Devices) == 0 {
			return fmt.Errorf("snapshot %s has no disks", s.UUID)
		}
		device := s.Devices[0]
		if len(args) > 1 {
			device = args[1]
		}
		if !slices.Contains(s.Devices, device) {
			return fmt.Errorf("snapshot %s has no disk %q, only %s", s.UUID, device, strings.Join(s.Devices, ", "))
		}
		name := *output
		switch name {
		case "":
			name = s.UUID + "-" + device + ".qcow2"
		case "-":
			return a.copyDisk(ctx, cl, s.UUID, device, a.out, 0)
		}
		return a.downloadTo(ctx, cl, s.UUID, device, name)
	})
}

// downloadTo makes or completes a file.
func (a *app) downloadTo(ctx context.Context, c *client.Client, id, device, name string) (err error) {
	if _, err := os.Lstat(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is there already: remove it, or choose another file with --output", name)
		}
		return err
	}
	part := partial(name, id, device)
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	there, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := a.copyDisk(ctx, c, id, device, f, there); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(part, name); err != nil {
		return err
	}
	if a.format == asJSON {
		return a.printJSON(object{"file": name})
	}
	_, err = fmt.Fprintln(a.out, name)
	return err
}

// copyDisk downloads from an offset on.
func (a *app) copyDisk(ctx context.Context, c *client.Client, id, device string, to io.Writer, offset int64) error {
	d, err := c.OpenSnapshot(ctx, id, device, offset)
	if err != nil {
		return err
	}
	defer d.Close()
	line := &status{a: a}
	defer line.clear()
	meter := &meter{line: line, start: time.Now(), first: offset, done: offset, total: d.Size()}
	_, err = io.Copy(to, io.TeeReader(d, meter))
	if err != nil && offset < meter.done {
		return fmt.Errorf("%w (%s of %s are there; the same command goes on)", err, megabytes(meter.done), megabytes(meter.total))
	}
	return err
}

// meter shows how far something is that is being copied.
type meter struct {
	line        *status
	start, last time.Time
	first       int64 // bytes that were there before
	done, total int64 // bytes
}

// refresh is the least time between two pictures of a meter.
const refresh = 100 * time.Millisecond

func (m *meter) Write(p []byte) (int, error) {
	m.done += int64(len(p))
	if now := time.Now(); m.line.a.progress && now.Sub(m.last) >= refresh {
		m.last = now
		m.line.show(bar(m.first, m.done, m.total, now.Sub(m.start)))
	}
	return len(p), nil
}

// bar pictures how far a copy is, how fast since it began at first, and how long
// it will take.
func bar(first, done, total int64, took time.Duration) string {
	const width = 30
	part := 1.0
	if total > 0 {
		part = float64(done) / float64(total)
	}
	full := int(part * width)
	s := fmt.Sprintf("[%s%s] %3d %% of %s", strings.Repeat("=", full), strings.Repeat(" ", width-full), int(part*100), megabytes(total))
	if rate := float64(done-first) / took.Seconds(); took > 0 && rate >= 1 {
		left := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
		s += fmt.Sprintf(", %.1f MB/s, %v left", rate/1e6, left)
	}
	return s
}
