package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/qcow2"
	"github.com/shakenfist/cloud/driver/internal/room"
	"github.com/shakenfist/cloud/driver/internal/socket"
)

// maxChain bounds how many images may lie on one another.
const maxChain = 8

// inherited collects the open files of a new QEMU, which get the descriptors
// 0, 1, 2 and so on in the order they are added.
type inherited struct {
	files []*os.File
	sets  []fdSet
}

// add passes a file and returns its descriptor.
func (in *inherited) add(f *os.File) int {
	in.files = append(in.files, f)
	return len(in.files) - 1
}

// open opens a file for QEMU and returns its set.
func (in *inherited) open(path string, flags int) (int, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return 0, room.Mark(err)
	}
	set := len(in.sets) + 1
	in.sets = append(in.sets, fdSet{FD: in.add(f), Set: set})
	return set, nil
}

func (in *inherited) close() {
	for _, f := range in.files {
		f.Close()
	}
}

// openAll opens what the machine of a definition needs and returns its launch
// and the files, which are the caller's to close.
func (h *Hypervisor) openAll(d definition) (l launch, in *inherited, err error) {
	in = &inherited{}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	s := d.Spec
	l = launch{Spec: s, Accel: h.probed.Accel, Sandbox: h.probed.sandbox}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return l, in, err
	}
	in.add(null)
	said, err := os.OpenFile(h.reg.path(s.ID, "qemu.log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return l, in, room.Mark(err)
	}
	in.add(said)
	in.add(said)
	for _, end := range []struct {
		name string
		fd   *int
	}{{"qmp", &l.QMP}, {"serial", &l.Serial}} {
		f, err := socket.Listen(h.reg.path(s.ID, end.name))
		if err != nil {
			return l, in, err
		}
		*end.fd = in.add(f)
	}
	if l.LogSet, err = in.open(consoleLog(s), os.O_WRONLY|os.O_CREATE|os.O_APPEND); err != nil {
		return l, in, err
	}
	if s.UEFI {
		if l.Firmware, err = h.openFirmware(in, s); err != nil {
			return l, in, err
		}
	}
	for _, d := range s.Disks {
		chain, err := openChain(in, d, h.cfg.Below)
		if err != nil {
			return l, in, fmt.Errorf("disk %s: %w", d.Device, err)
		}
		l.Chains = append(l.Chains, chain)
	}
	for _, n := range s.NICs {
		f, err := openTap(n)
		if err != nil {
			return l, in, err
		}
		l.Taps = append(l.Taps, in.add(f))
	}
	l.Sets = in.sets
	return l, in, nil
}

// openChain opens a disk's image and all that lie under it, which are to be in the
// directories within.
func openChain(in *inherited, d driver.Disk, within []string) ([]layer, error) {
	path, format, flags := d.Path, d.Format, os.O_RDWR
	if d.CDROM || d.ReadOnly {
		flags = os.O_RDONLY
	}
	var chain []layer
	for range maxChain {
		set, err := in.open(path, flags)
		if err != nil {
			return nil, err
		}
		chain = append(chain, layer{Set: set, Format: format})
		if format != "qcow2" {
			return chain, nil
		}
		below, err := qcow2.Below(in.files[len(in.files)-1], within)
		if err != nil {
			return nil, err
		}
		if below.Path == "" {
			return chain, nil
		}
		path, format, flags = below.Path, below.Format, os.O_RDONLY
	}
	return nil, fmt.Errorf("%s: more than %d images lie on one another", d.Path, maxChain)
}

// consoleLog and nvram are our files in Spec.Dir.
func consoleLog(s driver.Spec) string { return filepath.Join(s.Dir, "console.log") }
func nvram(s driver.Spec) string      { return filepath.Join(s.Dir, "nvram.fd") }

// openFirmware opens the UEFI code and this machine's variables, which begin as
// a copy of the firmware's.
func (h *Hypervisor) openFirmware(in *inherited, s driver.Spec) (*firmware, error) {
	var f firmware
	var err error
	if f.Code, err = in.open(h.probed.uefiCode, os.O_RDONLY); err != nil {
		return nil, err
	}
	// An empty one is of a loss of power just after its making.
	if st, err := os.Stat(nvram(s)); errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0 {
		if err := copyDurably(h.probed.uefiVars, nvram(s)); err != nil {
			return nil, fmt.Errorf("UEFI variables: %w", room.Mark(err))
		}
	}
	f.Vars, err = in.open(nvram(s), os.O_RDWR)
	return &f, err
}

// copyDurably makes a copy that is there whole or not at all.
func copyDurably(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(to+".tmp", to)
	}
	return err
}
