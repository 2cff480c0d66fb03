package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// CopyDisk implements driver.Snapshots. A copy that an earlier call left at path
// is replaced. It leaves the cache's reserve free on the file system.
func (l *Local) CopyDisk(ctx context.Context, disk driver.Disk, path string, report func(driver.Progress)) error {
	dir, name := filepath.Split(path)
	id, ok := strings.CutSuffix(filepath.Base(dir), partialSuffix)
	device, qcow := strings.CutSuffix(name, ".qcow2")
	if !ok || !qcow || !uuidForm.MatchString(id) || !deviceForm.MatchString(device) || filepath.Dir(filepath.Clean(dir)) != l.snapshots {
		return fmt.Errorf("%w: copy of %s to %.200q: use a path that SnapshotPath gave", driver.ErrInvalid, disk.Device, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copy of %s: %w", disk.Device, err)
	}
	report = l.config.Cache.throttle(report)
	looked := int64(0)
	step := func(done, total int64) error {
		report(driver.Progress{Stage: "copying", Done: done, Total: total})
		if done < looked {
			return nil
		}
		looked = done + roomEvery
		return l.config.Cache.room(0)
	}
	layers, err := l.layers(disk)
	if err == nil {
		err = qcow2.FlattenLayers(ctx, layers, path, step)
	}
	if err != nil {
		return fmt.Errorf("copy of %s: %w", disk.Device, l.config.Cache.noSpace(err, 0))
	}
	return nil
}

// roomEvery is how much of a disk is copied between two looks at the space that
// is left, in bytes.
const roomEvery = 64 << 20
