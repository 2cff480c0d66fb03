//go:build linux

package linux

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/netfab"
)

// A name that a killed process made and could not write its note into is in
// nobody's way.
func TestEmptyName(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{Tag: "test"})
	n := network(1, 0)
	path := f.Attachment(n.ID, n.VNI, "x").NetNS
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{n}}
	if err := f.Apply(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(context.Background(), netfab.Desired{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the name is left: %v", err)
	}
}
