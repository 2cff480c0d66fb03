package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/room"
)

// draft is the definition of a machine before its first start: what a start finds
// out, the files under its disks, is left out.
func (m *machine) draft(ctx context.Context, spec driver.Spec) (string, error) {
	b, err := m.blueprint(ctx, spec)
	if err != nil {
		return "", err
	}
	for i := range spec.NICs {
		b.Taps = append(b.Taps, awayName(spec.ID, i))
	}
	return document(b)
}

// prepare returns the definition of a machine that is about to start, and its taps.
func (m *machine) prepare(ctx context.Context, spec driver.Spec) (string, *taps, error) {
	b, err := m.blueprint(ctx, spec)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(spec.Dir, 0o711); err != nil {
		return "", nil, room.Mark(err)
	}
	p, err := m.h.probe(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, d := range spec.Disks {
		chain, err := findChain(d.Path, d.Format, m.h.cfg.Below)
		if err == nil {
			err = p.reach(d.Path, chain)
		}
		if err != nil {
			return "", nil, fmt.Errorf("disk %s: %w", d.Device, err)
		}
		b.Chains = append(b.Chains, chain)
	}
	// QEMU makes its socket anew, and does not replace what is there.
	if err := os.Remove(consoleSocket(spec)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	t, err := newTaps(m.h.place(), spec)
	if err != nil {
		return "", nil, err
	}
	b.Taps = t.names()
	text, err := document(b)
	if err != nil {
		t.close()
		return "", nil, err
	}
	return text, t, nil
}

func (m *machine) blueprint(ctx context.Context, spec driver.Spec) (blueprint, error) {
	p, err := m.h.probe(ctx)
	if err != nil {
		return blueprint{}, err
	}
	b := blueprint{Spec: spec, Owner: m.h.cfg.Owner, Accel: p.Accel}
	if spec.UEFI {
		b.Loader, b.Vars = p.loader, p.vars
	}
	return b, nil
}

// reach says which directory keeps the user of libvirt's QEMUs from a disk. The
// files themselves are libvirt's to give to that user.
func (p *probe) reach(path string, chain []layer) error {
	if p.user <= 0 {
		return nil
	}
	paths := []string{path}
	for _, l := range chain {
		paths = append(paths, l.Path)
	}
	for _, path := range paths {
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			st, err := os.Stat(dir)
			if err != nil {
				return err
			}
			if !mayEnter(st, p.user, p.group) {
				return fmt.Errorf("%s has mode %v, which keeps libvirt's user %d out of %s (chmod o+x %[1]s): %[5]w",
					dir, st.Mode().Perm(), p.user, path, fs.ErrPermission)
			}
			if dir == "/" {
				break
			}
		}
	}
	return nil
}
