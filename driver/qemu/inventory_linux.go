package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver/internal/host"
)

// Definition is a machine as a registry has it.
type Definition struct {
	ID  string
	PID int // of its QEMU when last written; 0 for none
}

// Definitions lists the machines of a registry, whoever has it open. What is being
// made or removed may be among them.
func Definitions(dir string) ([]Definition, error) {
	r := registry{dir}
	ids, err := r.ids()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []Definition
	for _, id := range ids {
		_, rec, e := r.load(id)
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
			continue
		}
		d := Definition{ID: id}
		if boot, err := host.BootID(); err == nil && rec.Process != nil && rec.Process.BootID == boot {
			d.PID = rec.Process.PID
		}
		all = append(all, d)
	}
	return all, err
}

// Process is a QEMU that this package started, or one that looks so.
type Process struct {
	ID  string // of its machine, as it was told
	PID int
	// Dir is the registry that it was started for: where its messages go, which only
	// who opened that directory can arrange. Empty where that is not so.
	Dir   string
	start uint64
}

// signature is in the command line of every machine of this package.
var signature = []byte("\x00-action\x00shutdown=pause,reboot=reset,panic=none\x00")

// Processes lists the QEMUs of all registries on this host, whether these still
// know them or not.
func Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	var all []Process
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := process(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all, err
}

// process reads one; false for any other, and for one that ended meanwhile.
func process(pid int) (Process, bool) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, signature) {
		return Process{}, false
	}
	p := Process{PID: pid}
	if p.start, err = startTime(pid); err != nil {
		return Process{}, false
	}
	args := strings.Split(string(line), "\x00")
	if i := slices.Index(args, "-uuid"); i >= 0 && i+1 < len(args) {
		p.ID = args[i+1]
	}
	to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", pid))
	if err != nil {
		return p, !errors.Is(err, fs.ErrNotExist)
	}
	dir, ours := strings.CutSuffix(strings.TrimSuffix(to, " (deleted)"), filepath.Join("/machines", p.ID, "qemu.log"))
	if ours && p.ID != "" {
		p.Dir = dir
	}
	return p, true
}

// End kills a process if it is still the one that Processes found.
func (p Process) End() error {
	boot, err := host.BootID()
	if err != nil {
		return err
	}
	c, err := find(identity{PID: p.PID, Start: p.start, BootID: boot})
	if err != nil || c == nil {
		return err
	}
	defer c.close()
	return c.kill()
}
