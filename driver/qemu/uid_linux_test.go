package qemu

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Machines that are created at the same time get user IDs of their own. The race
// detector watches the bookkeeping.
func TestUIDsOfConcurrentCreates(t *testing.T) {
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	dir := t.TempDir()
	h, err := New(t.Context(), Config{Dir: filepath.Join(dir, "registry")})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const machines = 8
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() {
			id := fmt.Sprintf("5f000000-0000-4000-8000-0000000001%02d", i)
			err := h.Create(t.Context(), driver.Spec{
				ID: id, Name: "m", CPUs: 1, MemoryMiB: 64, Dir: filepath.Join(dir, id), Video: driver.Video{Model: "none"},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, m := range h.machines {
		seen[m.def.UID] = true
	}
	if len(seen) != machines {
		t.Errorf("%d user IDs for %d machines", len(seen), machines)
	}
}
