package qemu_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
)

// Who broke out of a QEMU can write the header of its disk, and is not to be given
// files of the host by that with the next start.
func TestStaysInside(t *testing.T) {
	var images string
	l := newLab(t, func(c *qemu.Config) {
		images = filepath.Join(filepath.Dir(c.Dir), "images")
		c.Below = []string{images}
	})
	l.must(os.Mkdir(images, 0o700))
	secret, base := filepath.Join(l.dir, "secret"), filepath.Join(images, "base")
	for _, path := range []string{secret, base} {
		l.must(os.WriteFile(path, make([]byte, 1<<20), 0o600))
	}
	s := pc.Spec(l.dir, 1)
	s.Disks[0].Path, s.Disks[0].Format = filepath.Join(l.dir, "disk.qcow2"), "qcow2"
	pc.Image(t, "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", s.Disks[0].Path)
	l.run(s)
	l.must(l.h.Stop(l.ctx, s.ID, driver.Force))
	pc.Image(t, "rebase", "-u", "-f", "qcow2", "-b", secret, "-F", "raw", s.Disks[0].Path)
	if err := l.h.Start(l.ctx, s.ID); err == nil || !strings.Contains(err.Error(), secret) {
		t.Errorf("a machine starts with %s under its disk: %v", secret, err)
	}
}
