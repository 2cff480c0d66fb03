package libvirt

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/notes"
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
	lock, err := notes.Lock(dir)
	if err != nil {
		return registry{}, nil, err
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
	return notes.Save(r.path(e.Spec.ID), e, durable)
}

func (r registry) remove(id string) error {
	if err := os.Remove(r.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
