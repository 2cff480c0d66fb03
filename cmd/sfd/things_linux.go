package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shakenfist/cloud/cmd/sfd/internal/doctor"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/qemu"
)

// things lists what is on the host, of all clouds.
func (p *patient) things(ctx context.Context) (all []doctor.Thing, err error) {
	owned, err := p.fabric.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range owned {
		all = append(all, doctor.Thing{Kind: o.Kind, Name: o.Name, Tag: o.Tag, Part: o.Part, Network: o.Network, Why: o.Why})
	}
	for _, list := range []func(context.Context) ([]doctor.Thing, error){p.machines, p.processes, p.files, p.cgroups} {
		some, err := list(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// machines lists what a hypervisor knows: that of the data directory, or libvirt's.
func (p *patient) machines(ctx context.Context) (all []doctor.Thing, err error) {
	definitions, err := qemu.Definitions(p.registry())
	for _, d := range definitions {
		if uuidOf(d.ID) == "" {
			continue
		}
		all = append(all, doctor.Thing{Kind: doctor.Machine, Name: d.ID, Tag: p.tag, Instance: d.ID, PID: d.PID,
			Why: "it is in the data directory's " + filepath.Base(p.registry())})
	}
	if err != nil || p.c.virt != "libvirt" {
		return all, err
	}
	domains, err := libvirt.Domains(ctx, p.c.libvirtSocket)
	if err != nil {
		return all, nil // which the check of the hypervisor tells
	}
	for _, d := range domains {
		t := doctor.Thing{Kind: doctor.Machine, Name: d.Name, Tag: d.Owner, Instance: d.ID, Why: "metadata of the domain: " + d.Owner}
		if d.Owner == "" {
			t.Why = "it has a name like ours, and no metadata"
		}
		all = append(all, t)
	}
	return all, nil
}

// registry is where sfd's own machines are, by the name that the kernel knows.
func (p *patient) registry() string {
	dir := p.c.path("machines")
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// processes lists QEMUs that sfd started, this one or another.
func (p *patient) processes(context.Context) (all []doctor.Thing, err error) {
	found, err := qemu.Processes()
	for _, q := range found {
		t := processThing(q)
		switch q.Dir {
		case "":
		case p.registry():
			t.Tag = p.tag
		default:
			t.Tag = "the data directory " + filepath.Dir(q.Dir)
		}
		all = append(all, t)
	}
	return all, err
}

func processThing(q qemu.Process) doctor.Thing {
	t := doctor.Thing{Kind: doctor.Process, Name: fmt.Sprintf("%d, QEMU of %s", q.PID, q.ID), Instance: uuidOf(q.ID), PID: q.PID,
		Why: "its messages go to " + q.Dir}
	if q.Dir == "" {
		t.Why = "it has arguments like ours, and its messages go elsewhere"
	}
	return t
}

// files lists directories of the data directory that are there for something.
func (p *patient) files(context.Context) (all []doctor.Thing, err error) {
	for _, kind := range []struct {
		kind, dir string
		fill      func(t *doctor.Thing, name string) bool
	}{
		{doctor.Volumes, "instances", func(t *doctor.Thing, name string) bool { t.Instance = uuidOf(name); return t.Instance != "" }},
		{doctor.Snapshots, "snapshots", func(t *doctor.Thing, name string) bool {
			id, _, _ := strings.Cut(name, ".")
			t.Snapshot = uuidOf(id)
			return t.Snapshot != ""
		}},
		{doctor.Work, "image_cache/tmp", func(*doctor.Thing, string) bool { return true }},
		{doctor.Download, "image_cache/partial", func(_ *doctor.Thing, name string) bool { return filepath.Ext(name) != ".json" }},
	} {
		entries, err := os.ReadDir(p.c.path(kind.dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			t := doctor.Thing{Kind: kind.kind, Name: p.c.path(filepath.Join(kind.dir, e.Name())), Tag: p.tag, Why: "it is in the data directory"}
			if kind.fill(&t, e.Name()) {
				all = append(all, t)
			}
		}
	}
	return all, nil
}

var groupName = regexp.MustCompile(`^sf-[0-9a-f]{6}$`)

// cgroups lists machines' control groups, in all hierarchies. Of others only those
// with machines in them are worth a word.
func (p *patient) cgroups(context.Context) (all []doctor.Thing, err error) {
	mine := cgroup(p.tag)
	for _, hierarchy := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		tops, err := filepath.Glob(hierarchy + "sf-*")
		if err != nil {
			return nil, err
		}
		for _, top := range tops {
			name := filepath.Base(top)
			machines, err := filepath.Glob(top + "/*/cgroup.procs")
			if err != nil {
				return nil, err
			}
			if !groupName.MatchString(name) || name != mine && len(machines) == 0 {
				continue
			}
			t := doctor.Thing{Kind: doctor.Cgroup, Name: top, Tag: name, Why: "it is named after its owner"}
			if name != mine {
				all = append(all, t)
				continue
			}
			t.Tag = p.tag
			all = append(all, t)
			for _, m := range machines {
				t.Name = filepath.Dir(m)
				if t.Instance = uuidOf(filepath.Base(t.Name)); t.Instance != "" {
					all = append(all, t)
				}
			}
		}
	}
	return all, nil
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// uuidOf is a name that is a UUID, else nothing.
func uuidOf(name string) string {
	if !uuidForm.MatchString(name) {
		return ""
	}
	return name
}
