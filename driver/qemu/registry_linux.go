package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/notes"
)

// The registry is a directory per machine with
//
//	spec.json   what Create was given, on disk before Create returns; its
//	            existence is the machine's
//	state.json  what became of it; written before what it announces
//	qmp serial  sockets of the running QEMU
//	qemu.log    what QEMU said of its last run
//
// An update is a rename. Only spec.json and ends survive a power failure for
// sure: all else describes processes that do not survive one either.
type registry struct{ dir string }

// definition is spec.json.
type definition struct {
	Spec    driver.Spec `json:"spec"`
	UID     int         `json:"uid"`      // 0: our own user
	MadeDir bool        `json:"made_dir"` // Spec.Dir was made by us
}

// record is state.json.
type record struct {
	State  driver.State `json:"state"`
	Since  time.Time    `json:"since"`
	Reason string       `json:"reason,omitempty"`
	Boot   int64        `json:"boot"`
	Resets int64        `json:"resets,omitempty"`
	// Process is the QEMU of a machine that is on.
	Process *identity `json:"process,omitempty"`
	// Verdict is what the machine will be called once that process is gone.
	// Without one, its end is a crash.
	Verdict *verdict `json:"verdict,omitempty"`
	// RebootBy is until when a shutdown of the guest means a new boot.
	RebootBy time.Time `json:"reboot_by,omitzero"`
}

// status is the record for people.
func (r record) status(id string) driver.Status {
	return driver.Status{ID: id, State: r.State, Since: r.Since, Reason: r.Reason, Boot: r.Boot, Resets: r.Resets}
}

type verdict struct {
	State  driver.State `json:"state"`
	Reason string       `json:"reason,omitempty"`
}

// identity names one process for ever: PIDs come round again, start times
// within one boot of the host do not for the same PID.
type identity struct {
	PID    int    `json:"pid"`   // 0: about to be started
	Start  uint64 `json:"start"` // field 22 of /proc/PID/stat, ticks since boot
	BootID string `json:"boot_id"`
}

func (r registry) path(id, name string) string { return filepath.Join(r.dir, "machines", id, name) }

// openRegistry makes and locks the registry. The lock ends with the process.
func openRegistry(dir string) (registry, *os.File, error) {
	if err := os.MkdirAll(filepath.Join(dir, "machines"), 0o700); err != nil {
		return registry{}, nil, err
	}
	// One name, by which the kernel too knows what is in it.
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return registry{}, nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return registry{}, nil, err
	}
	lock, err := notes.Lock(dir)
	if err != nil {
		return registry{}, nil, err
	}
	return registry{dir}, lock, nil
}

// ids returns the names of all machine directories. Files beside them are nobody's.
func (r registry) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, "machines"))
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// create writes a definition durably.
func (r registry) create(d definition) error {
	if err := os.Mkdir(r.path(d.Spec.ID, ""), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := notes.Save(r.path(d.Spec.ID, "spec.json"), d, true); err != nil {
		return err
	}
	return notes.SyncDir(filepath.Join(r.dir, "machines"))
}

func (r registry) save(id string, s record, durable bool) error {
	return notes.Save(r.path(id, "state.json"), s, durable)
}

// load reads a machine. A directory without a definition is fs.ErrNotExist; a
// missing or broken state is that of a machine that never ran.
func (r registry) load(id string) (definition, record, error) {
	var d definition
	b, err := os.ReadFile(r.path(id, "spec.json"))
	if err != nil {
		return d, record{}, err
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, record{}, fmt.Errorf("%s is damaged (%w): end its QEMU if it still runs (pgrep -af %s), and remove the directory; the machine is then defined anew",
			r.path(id, "spec.json"), err, id)
	}
	s := record{State: driver.Defined}
	if b, err := os.ReadFile(r.path(id, "state.json")); err == nil && json.Unmarshal(b, &s) != nil {
		s = record{State: driver.Defined, Reason: "its last state was lost"}
	}
	return d, s, nil
}

// remove forgets a machine, its definition last.
func (r registry) remove(id string) error {
	for _, name := range []string{"state.json", "qmp", "serial", "qemu.log", "spec.json"} {
		if err := os.Remove(r.path(id, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(r.path(id, ""))
}
