package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What lies beside the machines' directories keeps no driver from opening, nor does the
// rest of a definition that was never written. One that is damaged does, for its QEMU may
// run, and says what to do.
func TestRegistryStrays(t *testing.T) {
	dir := t.TempDir()
	half := filepath.Join(dir, "machines", "11111111-2222-3333-4444-555555555555")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "machines", "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := New(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := h.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "machines", "notes.txt")); err != nil {
		t.Errorf("somebody's file is gone: %v", err)
	}
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "spec.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err = New(t.Context(), Config{Dir: dir}); err == nil {
		h.Close()
	}
	if err == nil || !strings.Contains(err.Error(), half) || !strings.Contains(err.Error(), "remove the directory") {
		t.Errorf("%v", err)
	}
}
