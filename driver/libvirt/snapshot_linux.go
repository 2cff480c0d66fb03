package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
)

// job is a snapshot that we began, in the machine's file. libvirt copies for one
// backup at a time and forgets how it ended when it restarts.
type job struct {
	Targets []driver.SnapshotTarget `json:"targets"`
	Boot    int64                   `json:"boot"` // of the machine, that it belongs to
	Ended   bool                    `json:"ended,omitempty"`
	Error   string                  `json:"error,omitempty"`
	Total   int64                   `json:"total,omitempty"`
}

// operateOn is the kind of job that a backup is (libvirt-domain.h).
const operateOn = 9

type xmlBackup struct {
	XMLName xml.Name        `xml:"domainbackup"`
	Mode    string          `xml:"mode,attr"`
	Disks   []xmlBackupDisk `xml:"disks>disk"`
}

type xmlBackupDisk struct {
	Name   string     `xml:"name,attr"`
	Backup string     `xml:"backup,attr"`
	Type   string     `xml:"type,attr,omitempty"`
	Driver *xmlFormat `xml:"driver"`
	Target *xmlFile   `xml:"target"`
}

// backupDocument describes a full copy of some of a machine's disks.
func backupDocument(s driver.Spec, targets []driver.SnapshotTarget) (string, error) {
	b, left := xmlBackup{Mode: "push"}, map[string]string{}
	for _, t := range targets {
		left[t.Device] = t.Path
	}
	for i, x := range newDisks(s.Disks, nil) {
		d := xmlBackupDisk{Name: x.Target.Dev, Backup: "no"}
		if path, ok := left[s.Disks[i].Device]; ok {
			d.Backup, d.Type, d.Driver, d.Target = "yes", "file", &xmlFormat{"qcow2"}, &xmlFile{File: path}
			delete(left, s.Disks[i].Device)
		}
		b.Disks = append(b.Disks, d)
	}
	for device := range left {
		return "", fmt.Errorf("%w: the machine has no disk %s", driver.ErrInvalid, device)
	}
	text, err := xml.MarshalIndent(b, "", "  ")
	return string(text) + "\n", err
}

// Snapshot implements driver.Snapshotter by libvirt's push-mode backup, of which a
// machine has one at a time: a second job is ErrState until the first has ended.
func (h *Hypervisor) Snapshot(ctx context.Context, id, name string, targets []driver.SnapshotTarget) error {
	return h.withOn(ctx, id, "snapshot", func(ctx context.Context, m *machine) error {
		jobs, boot := m.jobs()
		if old, ok := jobs[name]; ok && old.Boot == boot {
			return nil
		}
		text, err := backupDocument(m.spec(), targets)
		if err != nil {
			return err
		}
		for other, j := range jobs {
			if j.Ended || j.Boot != boot {
				continue
			}
			st, err := m.jobStatus(ctx, other, j, true)
			if errors.Is(err, driver.ErrNotFound) {
				continue
			}
			if err != nil || !st.Ended {
				return fmt.Errorf("snapshot job %s is still under way: %w", other, driver.ErrState)
			}
		}
		return m.beginBackup(ctx, name, text, job{Targets: targets, Boot: boot})
	})
}

func (m *machine) beginBackup(ctx context.Context, name, text string, j job) error {
	// Written first: a copy that nobody knows of would never be ended.
	if err := m.setJob(name, &j); err != nil {
		return err
	}
	p, err := m.h.probe(ctx)
	if err != nil {
		return err
	}
	began := false
	err = m.h.call(ctx, m.h.cfg.StartTimeout, func(c *conn) error {
		switch now, err := m.backup(c); {
		case err != nil:
			return err
		case now == waiting:
			if err := m.abandon(c); err != nil {
				return err
			}
		case now == copying && began:
			return nil // our last try went through
		}
		began = true
		if err := makeRoom(p, j.Targets); err != nil {
			return errOurs{err}
		}
		err := c.DomainBackupBegin(dom(m.id), text, nil, 0)
		if err == nil || lost(err) {
			return err
		}
		if found, _ := endOrphans(c, m.id); found {
			return errOrphan
		}
		return err
	})
	if errors.Is(err, errHeld) {
		err = errors.Join(err, m.update(func(n note) note { n.Held = true; return n }))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("snapshot: %w", noRoom(err)), m.setJob(name, nil), putAway(j.Targets))
	}
	return nil
}

// makeRoom removes what is in the way of a copy: libvirt makes the files itself.
func makeRoom(p *probe, targets []driver.SnapshotTarget) error {
	for _, t := range targets {
		if err := p.reach(t.Path, nil); err != nil {
			return err
		}
		if err := os.Remove(t.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// putAway removes what a copy that did not begin may have left.
func putAway(targets []driver.SnapshotTarget) (err error) {
	for _, t := range targets {
		if e := os.Remove(t.Path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// SnapshotJob implements driver.Snapshotter.
func (h *Hypervisor) SnapshotJob(ctx context.Context, id, name string) (st driver.JobStatus, err error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return st, err
	}
	defer leave()
	m := h.hold(id)
	defer h.drop(m)
	alone := m.op.Try()
	if alone {
		defer m.op.Give()
	}
	if _, err := m.sync(ctx); err != nil {
		return st, fmt.Errorf("libvirt: machine %s: %w", id, err)
	}
	jobs, _ := m.jobs()
	j, ok := jobs[name]
	if !ok {
		return st, fmt.Errorf("libvirt: machine %s: snapshot job %s: %w", id, name, driver.ErrNotFound)
	}
	st, err = m.jobStatus(ctx, name, j, alone)
	if err != nil {
		return st, fmt.Errorf("libvirt: machine %s: snapshot job %s: %w", id, name, err)
	}
	return st, nil
}

// jobStatus asks libvirt for a job. One whose end it has forgotten is lost: it may
// or may not be whole. Whether it is, is judged by who is alone with the machine (holds
// op): another may be about to begin it.
func (m *machine) jobStatus(ctx context.Context, name string, j job, alone bool) (st driver.JobStatus, err error) {
	_, boot := m.jobs()
	if j.Boot != boot || !m.note().State.On() {
		return st, driver.ErrNotFound
	}
	if j.Ended {
		return j.status(), nil
	}
	now, err := m.backupStats(ctx, 0)
	if err != nil {
		return st, err
	}
	if number(now, "operation") == operateOn {
		if alone {
			if ended, err := m.endWaiting(ctx); err != nil {
				return st, err
			} else if ended {
				return st, m.lose(name)
			}
		}
		return driver.JobStatus{Done: number(now, "disk_processed"), Total: number(now, "disk_total")}, nil
	}
	was, err := m.backupStats(ctx, golibvirt.DomainJobStatsCompleted|golibvirt.DomainJobStatsKeepCompleted)
	if err != nil {
		return st, err
	}
	if number(was, "operation") != operateOn {
		if !alone {
			return st, nil
		}
		return st, m.lose(name)
	}
	j.Ended, j.Total = true, number(was, "disk_total")
	if !succeeded(was) {
		j.Error = text(was, "errmsg")
		if j.Error == "" {
			j.Error = "libvirt did not finish the copy"
		}
	}
	if err := m.setJob(name, &j); err != nil {
		return st, err
	}
	return j.status(), nil
}

// lose forgets a job that libvirt lost, so that it can begin anew.
func (m *machine) lose(name string) error {
	if err := m.setJob(name, nil); err != nil {
		return err
	}
	return driver.ErrNotFound
}

func (j job) status() driver.JobStatus {
	st := driver.JobStatus{Ended: true, Done: j.Total, Total: j.Total}
	if j.Error != "" {
		st.Err = noRoom(errors.New(j.Error))
	}
	return st
}

func (m *machine) backupStats(ctx context.Context, flags golibvirt.DomainGetJobStatsFlags) (params []golibvirt.TypedParam, err error) {
	err = m.h.call(ctx, m.h.cfg.Timeout, func(c *conn) (err error) {
		params, err = jobStats(c, m.id, flags)
		return err
	})
	return params, err
}

func succeeded(params []golibvirt.TypedParam) bool {
	for _, p := range params {
		if p.Field == "success" {
			return fmt.Sprint(p.Value.I) != "0" && fmt.Sprint(p.Value.I) != "false"
		}
	}
	return false
}

func text(params []golibvirt.TypedParam, field string) string {
	for _, p := range params {
		if s, ok := p.Value.I.(string); ok && p.Field == field {
			return s
		}
	}
	return ""
}

// EndSnapshot implements driver.Snapshotter.
func (h *Hypervisor) EndSnapshot(ctx context.Context, id, name string) error {
	return h.locked(ctx, id, func(ctx context.Context, m *machine) error {
		jobs, boot := m.jobs()
		j, ok := jobs[name]
		if !ok {
			return nil
		}
		if !j.Ended && j.Boot == boot {
			err := h.call(ctx, h.cfg.Timeout, func(c *conn) error {
				switch now, err := m.backup(c); {
				case err != nil || now == idle:
					return err
				case now == waiting:
					return m.abandon(c)
				}
				return c.DomainAbortJob(dom(id))
			})
			if err != nil && !errors.Is(err, errHeld) && code(err) != errInvalidOp && code(err) != errNoDomain {
				return fmt.Errorf("end snapshot: %w", err)
			}
		}
		return m.setJob(name, nil)
	})
}

// jobs returns the machine's snapshot jobs, and its boot now.
func (m *machine) jobs() (map[string]job, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.file.Jobs), m.file.Note.Boot
}

// setJob writes a job down, or with nil forgets it.
func (m *machine) setJob(name string, j *job) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	jobs := maps.Clone(m.file.Jobs)
	if jobs == nil {
		jobs = map[string]job{}
	}
	delete(jobs, name)
	if j != nil {
		j.Targets = slices.Clone(j.Targets)
		jobs[name] = *j
	}
	e := m.file
	e.Jobs = jobs
	if err := m.h.reg.save(e, true); err != nil {
		return err
	}
	m.file = e
	return nil
}
