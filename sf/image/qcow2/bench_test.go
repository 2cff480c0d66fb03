package qcow2

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// The pair to compare: an overlay over an image, by us and by qemu-img.
func BenchmarkCreateOverlay(b *testing.B) {
	path := filepath.Join(b.TempDir(), "disk.qcow2")
	for b.Loop() {
		if err := Create(path, Options{Size: 8 << 30, BackingFile: "base.raw", BackingFormat: "raw"}); err != nil {
			b.Fatal(err)
		}
		os.Remove(path)
	}
}

func BenchmarkCreateOverlayQemuImg(b *testing.B) {
	program := need.Program(b, "qemu-img", "qemu-utils")
	dir := b.TempDir()
	path := filepath.Join(dir, "disk.qcow2")
	writeFile(b, filepath.Join(dir, "base.raw"), make([]byte, 512))
	for b.Loop() {
		cmd := exec.Command(program, "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", path, "8G")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		os.Remove(path)
	}
}
