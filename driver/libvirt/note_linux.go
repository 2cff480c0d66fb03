package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"golang.org/x/sys/unix"
)

// entry is the file of a machine: its Spec as in the domain's metadata, so that
// Destroy can finish after the domain is gone, the note, and our snapshot jobs.
type entry struct {
	Spec driver.Spec    `json:"spec"`
	Note note           `json:"note"`
	Jobs map[string]job `json:"jobs,omitempty"`
}

// registry is a directory with a file per machine. An update is a rename.
type registry struct{ dir string }

func (r registry) path(id string) string { return filepath.Join(r.dir, id+".json") }

// openRegistry makes and locks the registry. The lock ends with the process.
func openRegistry(dir string) (registry, *os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return registry{}, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return registry{}, nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return registry{}, nil, fmt.Errorf("%s is in use by another process: %w", dir, err)
	}
	return registry{dir}, lock, nil
}

// ids returns the machines that have a file.
func (r registry) ids() ([]string, error) {
	files, err := os.ReadDir(r.dir)
	var ids []string
	for _, f := range files {
		if id, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// load reads a machine's file; false when there is none that can be read: the
// domain then says what the machine is.
func (r registry) load(id string) (entry, bool) {
	var e entry
	b, err := os.ReadFile(r.path(id))
	if err != nil || json.Unmarshal(b, &e) != nil || e.Spec.ID != id {
		return entry{Note: note{State: driver.Defined}}, false
	}
	return e, true
}

// save replaces a machine's file in one step, on disk if durable.
func (r registry) save(e entry, durable bool) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := r.path(e.Spec.ID)
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
		return syncDir(r.dir)
	}
	return nil
}

func (r registry) remove(id string) error {
	if err := os.Remove(r.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
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

// bootID names the host's current boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
