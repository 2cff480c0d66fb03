package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// snapshotPoll is how often a running copy is asked how far it is, and the most
// often that its progress is written.
const snapshotPoll = time.Second

// errNoSnapshots says that this node cannot keep copies.
var errNoSnapshots = fmt.Errorf("snapshots: %w by this node's volumes", errors.ErrUnsupported)

// runSnapshot takes the making of a snapshot as far as it goes now. Every step
// finds what an earlier process did.
func (a *Agent) runSnapshot(ctx context.Context, i *spec.Instance, op *spec.Operation) (time.Duration, error) {
	o, err := record.Get[spec.Snapshot](ctx, a.Records, record.SnapshotKey(op.Snapshot))
	if missing(err) || err == nil && o.Value.Deletion != nil {
		a.endJob(ctx, op)
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
		err = a.copyStopped(ctx, keep, i, &o.Value)
	}
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return a.failSnapshot(ctx, op, err)
	case !ended:
		return snapshotPoll, nil
	}
	return a.finishSnapshot(ctx, keep, op)
}

// copyRunning begins the copy of a running machine's disks, or asks how far it is.
func (a *Agent) copyRunning(ctx context.Context, keep driver.Snapshots, s *spec.Snapshot, op *spec.Operation, resumed bool) (ended bool, err error) {
	h, ok := driver.As[driver.Snapshotter](a.Hypervisor)
	if !ok {
		return false, fmt.Errorf("snapshots: %w by this hypervisor while a machine runs", errors.ErrUnsupported)
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

// copyStopped copies the disks of a machine that is off.
func (a *Agent) copyStopped(ctx context.Context, keep driver.Snapshots, i *spec.Instance, s *spec.Snapshot) error {
	for _, v := range i.Status.Volumes {
		if !slices.Contains(s.Devices, v.Device) {
			continue
		}
		path, err := keep.SnapshotPath(ctx, s.UUID, v.Device)
		if err != nil {
			return err
		}
		disk := driver.Disk{Device: v.Device, Path: v.Path, Format: v.Type, Bus: v.Bus}
		if err := keep.CopyDisk(ctx, disk, path, nil); err != nil {
			return err
		}
	}
	return nil
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
	t := a.Records.Begin().Delete(o.Key, record.SnapshotStatusKey(id), work,
		record.SnapshotIndexKey(s.Instance, s.Created, id), record.LivePrefix(spec.KindSnapshot, s.Namespace)+id)
	_, err = a.Records.Commit(ctx, t)
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
