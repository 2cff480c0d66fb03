package libvirt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/calls"
)

// What could not be written while the disk was full is written when there is room: a
// later process reads how the machine ended, not how it once was.
func TestNoteIsWrittenLater(t *testing.T) {
	dir := t.TempDir()
	h := &Hypervisor{cfg: Config{Dir: dir}.withDefaults(), reg: registry{dir}, machines: map[string]*machine{}, calls: calls.New("test")}
	const id = "11111111-2222-3333-4444-555555555555"
	e := entry{Spec: driver.Spec{ID: id}, Note: note{State: driver.Running, Boot: 1}}
	m := newMachine(h, id, e, false)
	if err := m.write(e); err != nil {
		t.Fatal(err)
	}
	// A directory in its place is as good as a full disk.
	obstacle := filepath.Join(dir, id+".json.tmp")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	ended := func(n note) note {
		n.State, n.Reason = driver.Stopped, "the guest shut down"
		return n
	}
	if err := m.update(ended); err == nil {
		t.Fatal("it was written")
	}
	m.resave()
	if err := os.RemoveAll(obstacle); err != nil {
		t.Fatal(err)
	}
	m.resave()
	if got, ok := h.reg.load(id); !ok || got.Note.State != driver.Stopped || got.Note.Reason != "the guest shut down" {
		t.Errorf("on disk is %+v", got.Note)
	}
	if m.stale {
		t.Error("it would be written again")
	}
}
