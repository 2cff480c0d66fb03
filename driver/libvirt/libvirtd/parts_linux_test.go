package libvirtd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is given back is what nobody uses: not what is mounted on, nor what has
// something in it.
func TestRemoveMountPoints(t *testing.T) {
	dir := t.TempDir()
	empty, full, gone := filepath.Join(dir, "empty"), filepath.Join(dir, "full"), filepath.Join(dir, "gone")
	for _, d := range []string{empty, filepath.Join(full, "inside")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveMountPoints([]string{empty, full, gone, "/proc"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(empty); !os.IsNotExist(err) {
		t.Errorf("an empty one is still there: %v", err)
	}
	for _, d := range []string{full, "/proc"} {
		if _, err := os.Stat(d); err != nil {
			t.Errorf("one in use: %v", err)
		}
	}
}

// All that may be given back is libvirt's.
func TestMountPoints(t *testing.T) {
	missing := MountPoints()
	for _, d := range missing {
		if _, err := os.Stat(d); err == nil || !strings.HasSuffix(d, "/libvirt") {
			t.Errorf("%s is not missing, or not libvirt's", d)
		}
	}
	for _, d := range directories {
		if _, err := os.Stat(d); err != nil && !slices.Contains(missing, d) {
			t.Errorf("%s is missing", d)
		}
	}
}
