package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// snapshotPoll is how often a long copy is asked how far it is, and the most
// often that its progress is written.
const snapshotPoll = time.Second

// nextLook is when a copy that has gone on for a while is asked again: soon at first,
// since copies of small disks end soon.
func nextLook(age time.Duration) time.Duration { return min(max(age/4, snapshotPoll/20), snapshotPoll) }

// errNoSnapshots says that this node cannot keep copies.
var errNoSnapshots = fmt.Errorf("snapshots: %w by this node's volumes", errors.ErrUnsupported)

// runSnapshot takes the making of a snapshot as far as it goes now. Every step
// finds what an earlier process did.
func (a *Agent) runSnapshot(ctx context.Context, i *spec.Instance, op *spec.Operation) (time.Duration, error) {
	o, err := record.Get[spec.Snapshot](ctx, a.Records, record.SnapshotKey(op.Snapshot))
	if missing(err) || err == nil && o.Value.Deletion != nil {
		a.endJob(ctx, op)
		if !a.endCopy(op) {
			return showAfter, nil
		}
		return a.endOperation(ctx, op, spec.OperationFailed, "the snapshot was deleted")
	}
	if err != nil {
		return 0, err
	}
	keep, ok := a.Volumes.(driver.Snapshots)
	if !ok {
		return a.failSnapshot(ctx, op, errNoSnapshots)
	}
	if i.Status.State != spec.StateCreated {
		return snapshotPoll, nil
	}
	m, err := a.Hypervisor.Inspect(ctx, i.UUID)
	if err != nil {
		return a.failSnapshot(ctx, op, err)
	}
	resumed := op.Status.State == spec.OperationStarted
	if !resumed {
		if err := a.reportOperation(ctx, op, func(s *spec.OperationStatus) { s.State = spec.OperationStarted }); err != nil {
			return 0, err
		}
	}
	ended := true
	if m.State.On() {
		ended, err = a.copyRunning(ctx, keep, &o.Value, op, resumed)
	} else {
		ended, err = a.copyStopped(ctx, op)
	}
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return a.failSnapshot(ctx, op, err)
	case !ended && resumed:
		return nextLook(a.age(op)), nil
	case !ended:
		return nextLook(0), nil
	}
	return a.finishSnapshot(ctx, keep, op)
}

// copyRunning begins the copy of a running machine's disks, or asks how far it is.
func (a *Agent) copyRunning(ctx context.Context, keep driver.Snapshots, s *spec.Snapshot, op *spec.Operation, resumed bool) (ended bool, err error) {
	h, ok := driver.As[driver.Snapshotter](a.Hypervisor)
	if !ok {
		return false, fmt.Errorf("snapshots: %w by this hypervisor while a machine runs", errors.ErrUnsupported)
	}
	if whole, free := a.copied(op); whole || !free {
		return whole, nil
	}
	if resumed {
		job, err := h.SnapshotJob(ctx, s.Instance, s.UUID)
		if err == nil && !job.Ended {
			err = a.reportOperation(ctx, op, func(st *spec.OperationStatus) { st.Done, st.Total = job.Done, job.Total })
			return false, err
		}
		if err == nil {
			return true, job.Err
		}
		if !errors.Is(err, driver.ErrNotFound) {
			return false, err
		}
		// It was never begun, or went with its machine's process. The copy is of no
		// moment that anybody has seen, so it can begin anew.
	}
	var targets []driver.SnapshotTarget
	for _, device := range s.Devices {
		path, err := keep.SnapshotPath(ctx, s.UUID, device)
		if err != nil {
			return false, err
		}
		targets = append(targets, driver.SnapshotTarget{Device: device, Path: path})
	}
	return false, h.Snapshot(ctx, s.Instance, s.UUID, targets)
}

// copyState is how far the copy of a stopped machine's disks is. It goes on under
// a key of its own; an agent that finds none begins it anew.
type copyState struct {
	progress driver.Progress
	ended    bool
	err      error
	cancel   context.CancelCauseFunc // while it goes on
}

// errStarts ends a copy of disks to which a guest is about to write. It begins anew,
// as that of a machine that runs.
var errStarts = errors.New("the machine was started")

// copyStopped begins the copy of the disks of a machine that is off, or asks how
// far it is.
func (a *Agent) copyStopped(ctx context.Context, op *spec.Operation) (ended bool, err error) {
	key := op.Instance + "/" + op.Snapshot
	a.mu.Lock()
	c := a.copies[key]
	if c == nil || errors.Is(c.err, errStarts) { // and stopped again
		c = &copyState{}
		a.copies[key] = c
		a.slow.Add(keyCopy + key)
	}
	now := *c
	a.mu.Unlock()
	if !now.ended {
		return false, a.reportOperation(ctx, op, func(s *spec.OperationStatus) { s.Done, s.Total = now.progress.Done, now.progress.Total })
	}
	return true, now.err
}

// copyDisks copies the disks of a machine that is off, for the snapshot that the
// key names behind the instance.
func (a *Agent) copyDisks(ctx context.Context, key string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	instance, snapshot, _ := strings.Cut(key, "/")
	a.mu.Lock()
	c := a.copies[key]
	if c != nil {
		c.cancel = cancel
	}
	if m := a.instances[instance]; m != nil && m.starting {
		cancel(errStarts)
	}
	a.mu.Unlock()
	if c == nil {
		return nil // it was given up
	}
	err := a.copyAll(ctx, instance, snapshot, func(p driver.Progress) {
		a.mu.Lock()
		c.progress = p
		a.mu.Unlock()
	})
	if err != nil && errors.Is(context.Cause(ctx), errStarts) {
		err = errStarts
	}
	a.mu.Lock()
	c.ended, c.err, c.cancel = true, err, nil
	a.mu.Unlock()
	a.queue.Add(keyOps + instance)
	a.queue.Add(keyInstance + instance) // its start may wait for this
	return nil
}

// holdCopies ends the copies of a stopped machine's disks, since its guest is about to
// write to them, and keeps others from beginning until releaseCopies. It reports
// whether none goes on any more.
func (a *Agent) holdCopies(instance string) (free bool) {
	m := a.of(instance)
	a.mu.Lock()
	defer a.mu.Unlock()
	free = true
	for key, c := range a.copies {
		if strings.HasPrefix(key, instance+"/") && c.cancel != nil { // one at most: operations take turns
			c.cancel(errStarts)
			free = false
		}
	}
	m.starting = free
	return free
}

func (a *Agent) releaseCopies(instance string) {
	m := a.of(instance)
	a.mu.Lock()
	defer a.mu.Unlock()
	m.starting = false
}

// copied reports whether the copy of an operation was whole before its machine was
// started, and whether, if not, none goes on any more.
func (a *Agent) copied(op *spec.Operation) (whole, free bool) {
	a.mu.Lock()
	c := a.copies[op.Instance+"/"+op.Snapshot]
	whole = c != nil && c.ended && c.err == nil
	a.mu.Unlock()
	if whole {
		return true, true
	}
	return false, a.endCopy(op)
}

func (a *Agent) copyAll(ctx context.Context, instance, snapshot string, report func(driver.Progress)) error {
	keep, ok := a.Volumes.(driver.Snapshots)
	if !ok {
		return errNoSnapshots
	}
	if m, err := a.Hypervisor.Inspect(ctx, instance); err != nil {
		return err
	} else if m.State.On() { // since it was looked at
		return errStarts
	}
	i, err := a.load(ctx, instance)
	if err != nil {
		return err
	}
	s, err := record.Get[spec.Snapshot](ctx, a.Records, record.SnapshotKey(snapshot))
	if err != nil {
		return err
	}
	var before driver.Progress
	for _, v := range i.Status.Volumes {
		if !slices.Contains(s.Value.Devices, v.Device) {
			continue
		}
		path, err := keep.SnapshotPath(ctx, snapshot, v.Device)
		if err != nil {
			return err
		}
		var now driver.Progress
		disk := driver.Disk{Device: v.Device, Path: v.Path, Format: v.Type, Bus: v.Bus}
		err = keep.CopyDisk(ctx, disk, path, func(p driver.Progress) {
			now = p
			report(driver.Progress{Stage: p.Stage, Done: before.Done + p.Done, Total: before.Total + p.Total})
		})
		if err != nil {
			return err
		}
		before.Done, before.Total = before.Done+now.Done, before.Total+now.Total
	}
	return nil
}

// endCopy ends the copy of a stopped machine's disks, if there is one. It reports
// whether none goes on any more.
func (a *Agent) endCopy(op *spec.Operation) (ended bool) {
	key := op.Instance + "/" + op.Snapshot
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.copies[key]
	if c != nil && c.cancel != nil {
		c.cancel(nil)
		return false
	}
	delete(a.copies, key)
	return true
}

func (a *Agent) endJob(ctx context.Context, op *spec.Operation) {
	if h, ok := driver.As[driver.Snapshotter](a.Hypervisor); ok {
		if err := h.EndSnapshot(ctx, op.Instance, op.Snapshot); err != nil && !errors.Is(err, driver.ErrNotFound) {
			a.Logger.Warn("a snapshot's job could not be ended; it goes with its machine", "instance", op.Instance, "snapshot", op.Snapshot, "error", err)
		}
	}
}

// finishSnapshot makes the snapshot visible.
func (a *Agent) finishSnapshot(ctx context.Context, keep driver.Snapshots, op *spec.Operation) (time.Duration, error) {
	a.endJob(ctx, op)
	a.endCopy(op)
	files, err := keep.FinishSnapshot(ctx, op.Snapshot)
	if err != nil {
		return a.failSnapshot(ctx, op, err)
	}
	err = a.reportSnapshot(ctx, op.Snapshot, func(s *spec.SnapshotStatus) {
		s.State, s.Files = spec.StateCreated, nil
		for _, f := range files {
			s.Files = append(s.Files, spec.SnapshotFile(f))
		}
	})
	if err != nil {
		return 0, err
	}
	return a.endOperation(ctx, op, spec.OperationDone, "")
}

// failSnapshot gives a snapshot up and removes what there is of it.
func (a *Agent) failSnapshot(ctx context.Context, op *spec.Operation, cause error) (time.Duration, error) {
	a.endJob(ctx, op)
	if !a.endCopy(op) {
		return showAfter, nil // its end wakes us
	}
	if keep, ok := a.Volumes.(driver.Snapshots); ok {
		if err := keep.RemoveSnapshot(ctx, op.Snapshot); err != nil {
			return 0, err
		}
	}
	err := a.reportSnapshot(ctx, op.Snapshot, func(s *spec.SnapshotStatus) { s.State, s.Error = spec.StateError, cause.Error() })
	if err != nil {
		return 0, err
	}
	return a.endOperation(ctx, op, spec.OperationFailed, cause.Error())
}

func (a *Agent) reportSnapshot(ctx context.Context, id string, change func(*spec.SnapshotStatus)) error {
	_, err := record.Update(ctx, a.Records, record.SnapshotStatusKey(id), func(s *spec.SnapshotStatus, _ *record.Txn) error {
		was := s.State
		if change(s); was == s.State {
			return record.ErrUnchanged
		}
		s.Since = a.Clock.Now()
		return nil
	})
	return ignoreMissing(err)
}

func ignoreMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}

// reconcileSnapshot removes a snapshot that is to go, and then its record.
func (a *Agent) reconcileSnapshot(ctx context.Context, id string) (time.Duration, error) {
	work := record.WorkKey(a.Name, spec.KindSnapshot, id)
	o, err := record.Get[spec.Snapshot](ctx, a.Records, record.SnapshotKey(id))
	if missing(err) {
		_, err = a.Records.Commit(ctx, a.Records.Begin().Delete(work))
		return never, err
	}
	if err != nil || o.Value.Deletion == nil {
		return never, err
	}
	s := o.Value
	if h, ok := driver.As[driver.Snapshotter](a.Hypervisor); ok {
		if err := h.EndSnapshot(ctx, s.Instance, id); err != nil && !errors.Is(err, driver.ErrNotFound) {
			return 0, err
		}
	}
	if keep, ok := a.Volumes.(driver.Snapshots); ok {
		if err := keep.RemoveSnapshot(ctx, id); err != nil {
			return 0, err
		}
	}
	_, err = a.Records.Commit(ctx, claims.ForgetSnapshot(a.Records.Begin(), s).Delete(work))
	return never, err
}

// OpenSnapshot opens a file of a snapshot that is kept here.
func (a *Agent) OpenSnapshot(ctx context.Context, id, device string) (driver.SnapshotReader, error) {
	keep, ok := a.Volumes.(driver.Snapshots)
	if !ok {
		return nil, errNoSnapshots
	}
	return keep.OpenSnapshot(ctx, id, device)
}
