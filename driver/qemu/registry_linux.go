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
	"golang.org/x/sys/unix"
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
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return registry{}, nil, err
	}
	if err := lockSoon(lock); err != nil {
		lock.Close()
		return registry{}, nil, fmt.Errorf("%s is in use by another process: %w", dir, err)
	}
	return registry{dir}, lock, nil
}

// lockSoon takes a lock that a killed process may seem to have for a moment: what it had
// just forked has all its files until it becomes another program.
func lockSoon(f *os.File) (err error) {
	for range 50 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
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
	if err := writeJSON(r.path(d.Spec.ID, "spec.json"), d, true); err != nil {
		return err
	}
	return syncDir(filepath.Join(r.dir, "machines"))
}

func (r registry) save(id string, s record, durable bool) error {
	return writeJSON(r.path(id, "state.json"), s, durable)
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

// writeJSON replaces a file in one step, on disk when it returns if durable.
func writeJSON(path string, v any, durable bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return noSpace(err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil && durable {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		os.Remove(path + ".tmp")
		return noSpace(err)
	}
	if durable {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// noSpace marks errors of a full disk as what they are.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", driver.ErrNoSpace, err)
	}
	return err
}
