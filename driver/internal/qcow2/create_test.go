package qcow2

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// An empty image is whole for QEMU's own tools, at all sizes.
func TestCreate(t *testing.T) {
	img := need.Program(t, "qemu-img", "qemu-utils")
	for _, size := range []int64{0, 512, 65536, 512<<20 - 512, 512 << 20, 512<<20 + 512, 10 << 40, 1 << 50} {
		path := filepath.Join(t.TempDir(), "image")
		f, err := Create(path, size)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if out, err := exec.Command(img, "check", "-f", "qcow2", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors") {
			t.Errorf("%d bytes: %v: %s", size, err, out)
		}
		if out, _ := exec.Command(img, "info", "-f", "qcow2", path).CombinedOutput(); !strings.Contains(string(out), fmt.Sprintf("(%d bytes)", size)) {
			t.Errorf("%d bytes: %s", size, out)
		}
	}
	for _, size := range []int64{-512, 511, 1<<50 + 512} {
		if f, err := Create(filepath.Join(t.TempDir(), "image"), size); err == nil {
			f.Close()
			t.Errorf("made one of %d bytes", size)
		}
	}
}
