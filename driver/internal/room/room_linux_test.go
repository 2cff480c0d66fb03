package room_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/room"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

func TestMark(t *testing.T) {
	for _, tt := range []struct {
		err  error
		full bool
	}{
		{nil, false},
		{unix.EIO, false},
		{&os.PathError{Op: "write", Path: "/x", Err: unix.ENOSPC}, true},
		{fmt.Errorf("disk: %w", unix.EDQUOT), true},
	} {
		if err := room.Mark(tt.err); errors.Is(err, driver.ErrNoSpace) != tt.full || !errors.Is(err, tt.err) {
			t.Errorf("%v is %v", tt.err, err)
		}
	}
}

// A disk's own file system counts, also where its path leads there by a link; what is
// only read, or not there, does not.
func TestFor(t *testing.T) {
	need.Root(t)
	full, dir := t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(full, unix.MNT_DETACH) })
	for _, path := range []string{filepath.Join(full, "disk"), filepath.Join(dir, "disk")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(full, "disk"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		disk driver.Disk
		want bool
	}{
		{"room", driver.Disk{Path: filepath.Join(dir, "disk")}, true},
		{"full", driver.Disk{Path: filepath.Join(full, "disk")}, false},
		{"link", driver.Disk{Path: filepath.Join(dir, "link")}, false},
		{"read-only", driver.Disk{Path: filepath.Join(full, "disk"), ReadOnly: true}, true},
		{"CD-ROM", driver.Disk{Path: filepath.Join(full, "disk"), CDROM: true}, true},
		{"none", driver.Disk{Path: filepath.Join(full, "none")}, true},
	} {
		other := driver.Disk{Path: filepath.Join(dir, "disk")}
		if got := room.For(driver.Spec{Disks: []driver.Disk{other, tt.disk}}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
