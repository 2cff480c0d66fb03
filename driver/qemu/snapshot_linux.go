package qemu

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/qcow2"
	"github.com/shakenfist/cloud/driver/internal/room"
	"github.com/shakenfist/cloud/driver/qemu/internal/qmp"
)

// A snapshot is a backup job of QEMU's for each disk, all begun in one
// transaction. What belongs to it is named after it, so that a later process
// finds it: "snap-", a hash of the job's name, and, for each of its parts, which
// of how many it is. That is the name of a part's job and of its target's node,
// and begins the note on the passed file. QEMU forgets an ended job only when it
// is told to.

// part is the copy of one disk.
type part struct {
	name   string // of job and node; 31 bytes are allowed
	device string
	path   string
}

func jobPrefix(job string) string {
	sum := sha256.Sum256([]byte(job))
	return fmt.Sprintf("snap-%x-", sum[:8])
}

// parts checks what is to be copied.
func parts(s driver.Spec, job string, targets []driver.SnapshotTarget) ([]part, error) {
	if len(targets) == 0 {
		return nil, fmt.Errorf("%w: a snapshot of no disk", driver.ErrInvalid)
	}
	var all []part
	for i, t := range targets {
		if !slices.ContainsFunc(s.Disks, func(d driver.Disk) bool { return d.Device == t.Device }) {
			return nil, fmt.Errorf("%w: there is no disk %q", driver.ErrInvalid, t.Device)
		}
		if slices.ContainsFunc(all, func(p part) bool { return p.device == t.Device || p.path == t.Path }) {
			return nil, fmt.Errorf("%w: disk %q or its target is named twice", driver.ErrInvalid, t.Device)
		}
		all = append(all, part{fmt.Sprintf("%s%d-%d", jobPrefix(job), i, len(targets)), t.Device, t.Path})
	}
	return all, nil
}

// Snapshot implements driver.Snapshotter. The targets are made and opened here and
// passed as files. While a job runs, a guest's write to what is not copied yet
// waits until it is.
func (h *Hypervisor) Snapshot(ctx context.Context, id, job string, targets []driver.SnapshotTarget) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("snapshot")
		if err != nil {
			return err
		}
		all, err := parts(m.spec(), job, targets)
		if err != nil {
			return err
		}
		if jobs, err := s.jobs(ctx, job); err != nil || whole(jobs) {
			return err
		}
		// What an interrupted call left goes first.
		if err := s.forgetJob(ctx, job); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		if err := s.copy(ctx, all); err != nil {
			return errors.Join(fmt.Errorf("snapshot: %w", err), s.forgetJob(h.calls.Context(), job))
		}
		return nil
	})
}

// copy prepares all targets and begins all jobs at one moment.
func (s *session) copy(ctx context.Context, all []part) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	var actions []object
	for _, p := range all {
		source := node(driver.Disk{Device: p.device})
		size, ok := nodes[source]
		if !ok {
			return fmt.Errorf("disk %s: the emulator has no node %s", p.device, source)
		}
		if err := s.addTarget(ctx, p, size); err != nil {
			return fmt.Errorf("disk %s: %w", p.device, err)
		}
		actions = append(actions, object{"type": "blockdev-backup", "data": object{
			"job-id": p.name, "device": source, "target": p.name, "sync": "full",
			"on-source-error": "report", "on-target-error": "report", "auto-dismiss": false,
		}})
	}
	// Grouped: a part that fails ends the others.
	return s.ask(ctx, "transaction", object{"actions": actions, "properties": object{"completion-mode": "grouped"}}, nil, nil)
}

// addTarget makes a target and a node of it.
func (s *session) addTarget(ctx context.Context, p part, size int64) error {
	f, err := qcow2.Create(p.path, size)
	if err != nil {
		return room.Mark(err)
	}
	defer f.Close()
	var set struct {
		ID int `json:"fdset-id"`
	}
	if err := s.ask(ctx, "add-fd", object{"opaque": p.name + " " + strconv.QuoteToASCII(p.path)}, &set, f); err != nil {
		return err
	}
	return s.ask(ctx, "blockdev-add", target(p.name, set.ID), nil, nil)
}

// target is the node of a copy, in which zeroes take no room.
func target(name string, set int) object {
	return object{"driver": "qcow2", "node-name": name, "discard": "unmap", "detect-zeroes": "unmap", "backing": nil,
		"file": object{"driver": "file", "filename": fdset(set), "discard": "unmap"}}
}

// SnapshotJob implements driver.Snapshotter. The first call that finds the copies
// complete makes sure that they are on disk, which takes as long as it takes.
func (h *Hypervisor) SnapshotJob(ctx context.Context, id, name string) (st driver.JobStatus, err error) {
	var unsettled []string
	err = h.withJob(ctx, id, name, func(ctx context.Context, s *session, jobs []job) (err error) {
		st = jobStatus(jobs)
		if st.Ended && st.Err == nil {
			unsettled, err = s.unsettled(ctx, name)
		}
		return err
	})
	if err != nil || len(unsettled) == 0 {
		return st, err
	}
	// QEMU would stop the machine for that.
	for _, path := range unsettled {
		if err := syncFile(path); err != nil {
			st.Err = fmt.Errorf("qemu: machine %s: snapshot: %w", id, room.Mark(err))
			return st, nil
		}
	}
	err = h.withJob(ctx, id, name, func(ctx context.Context, s *session, _ []job) error { return s.settle(ctx, name) })
	var refused *qmp.Error
	if errors.As(err, &refused) {
		st.Err, err = copyError(err.Error()), nil
	}
	return st, err
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// EndSnapshot implements driver.Snapshotter.
func (h *Hypervisor) EndSnapshot(ctx context.Context, id, job string) error {
	err := h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("end a snapshot of")
		if err == nil {
			err = s.forgetJob(ctx, job)
		}
		return err
	})
	if errors.Is(err, driver.ErrState) || errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}

// withJob runs an act on a job that exists, under its machine's lock.
func (h *Hypervisor) withJob(ctx context.Context, id, name string, act func(context.Context, *session, []job) error) error {
	return h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("look at a snapshot of")
		if err != nil {
			return fmt.Errorf("job %s: %w: the machine is off", name, driver.ErrNotFound)
		}
		jobs, err := s.jobs(ctx, name)
		if err == nil && !whole(jobs) {
			err = fmt.Errorf("job %s: %w", name, driver.ErrNotFound)
		}
		select {
		case <-s.gone: // with its jobs, while we asked
			err = fmt.Errorf("job %s: %w: the machine is off", name, driver.ErrNotFound)
		default:
		}
		if err != nil {
			return err
		}
		return act(ctx, s, jobs)
	})
}

// whole reports whether all jobs of a snapshot are there.
func whole(jobs []job) bool {
	return len(jobs) > 0 && strings.HasSuffix(jobs[0].ID, "-"+strconv.Itoa(len(jobs)))
}

// jobStatus sums up the parts. Those that ended for another's sake explain nothing.
func jobStatus(jobs []job) driver.JobStatus {
	st := driver.JobStatus{Ended: true}
	text := ""
	for _, j := range jobs {
		st.Done += j.Done
		st.Total += j.Total
		st.Ended = st.Ended && j.Status == "concluded"
		if j.Error != "" && (text == "" || !strings.Contains(j.Error, "cancel")) {
			text = j.Error
		}
	}
	if st.Ended && text != "" {
		st.Err = copyError(text)
	}
	return st
}

// copyError is what QEMU says of a copy that failed.
func copyError(text string) error {
	for _, full := range []string{"No space left on device", "Disk quota exceeded"} {
		if strings.Contains(text, full) {
			return fmt.Errorf("qemu: snapshot: %w: %s", driver.ErrNoSpace, text)
		}
	}
	return fmt.Errorf("qemu: snapshot: %s", text)
}
