package sf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Snapshot asks for a copy of an instance's boot disk, or with all of all its
// disks that a guest can write, as they are at one moment, without stopping it.
// The snapshot can be used when the operation has ended; see WaitOperation.
func (c *Cloud) Snapshot(ctx context.Context, instance string, all bool) (*Snapshot, *Operation, error) {
	var s *Snapshot
	op, err := c.operate(ctx, instance, spec.OpSnapshot, func(i *Instance, t *record.Txn, op *Operation) error {
		s = &Snapshot{UUID: c.newUUID(), Instance: instance, Namespace: i.Namespace, Node: i.Node, Created: op.Created}
		for _, v := range i.Status.Volumes {
			if !v.CDROM && !v.Drive && (all || len(s.Devices) == 0) {
				s.Devices = append(s.Devices, v.Device)
			}
		}
		if len(s.Devices) == 0 {
			return spec.Errorf(ErrInvalid, "instance %s has no disk that could be copied", i.Name).About("instance", instance)
		}
		op.Snapshot, op.Deadline = s.UUID, op.Created.Add(snapshotDeadline)
		s.Status = spec.SnapshotStatus{State: StateInitial, Since: op.Created}
		t.Create(record.SnapshotKey(s.UUID), s)
		t.Put(record.SnapshotStatusKey(s.UUID), s.Status)
		t.Put(record.SnapshotIndexKey(instance, s.Created, s.UUID), claims.Empty{})
		t.Put(record.LivePrefix(spec.KindSnapshot, i.Namespace)+s.UUID, claims.Empty{})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return s, op, nil
}

// SnapshotByID returns one snapshot.
func (c *Cloud) SnapshotByID(ctx context.Context, id string) (*Snapshot, error) {
	o, err := record.Get[spec.Snapshot](ctx, c.records, record.SnapshotKey(id))
	if err != nil {
		return nil, notFound(err, spec.KindSnapshot, id)
	}
	s, err := record.Get[spec.SnapshotStatus](ctx, c.records, record.SnapshotStatusKey(id))
	if err != nil {
		return nil, notFound(err, spec.KindSnapshot, id)
	}
	snap := o.Value
	if snap.Status = s.Value; snap.Deletion != nil {
		snap.Status.State = StateDeleting
	}
	return &snap, nil
}

// InstanceSnapshots returns an instance's snapshots, oldest first, also when the
// instance is gone.
func (c *Cloud) InstanceSnapshots(ctx context.Context, instance string) ([]*Snapshot, error) {
	return c.snapshots(ctx, record.SnapshotIndexPrefix(instance), func(name string) string {
		_, id, _ := strings.Cut(name, "-")
		return id
	})
}

// Snapshots returns the snapshots of a namespace, sorted by UUID.
func (c *Cloud) Snapshots(ctx context.Context, namespace string) ([]*Snapshot, error) {
	return c.snapshots(ctx, record.LivePrefix(spec.KindSnapshot, namespace), func(name string) string { return name })
}

func (c *Cloud) snapshots(ctx context.Context, prefix string, id func(string) string) ([]*Snapshot, error) {
	l, err := c.store.List(ctx, prefix, store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	all := []*Snapshot{}
	for _, r := range l.Records {
		s, err := c.SnapshotByID(ctx, id(record.Base(r.Key)))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// DeleteSnapshot asks for a snapshot to be removed; one that is being made is
// given up. Instances made from it keep what they need. Asking again is nil.
func (c *Cloud) DeleteSnapshot(ctx context.Context, id string) error {
	now := c.cfg.Clock.Now()
	_, err := record.Update(ctx, c.records, record.SnapshotKey(id), func(s *spec.Snapshot, t *record.Txn) error {
		if s.Deletion != nil {
			return record.ErrUnchanged
		}
		s.Deletion = &spec.Deletion{Requested: now}
		t.Put(record.WorkKey(s.Node, spec.KindSnapshot, id), claims.Empty{})
		return nil
	})
	return notFound(err, spec.KindSnapshot, id)
}

// WaitSnapshotGone waits for a snapshot's removal.
func (c *Cloud) WaitSnapshotGone(ctx context.Context, id string) error {
	get := func() (*Snapshot, error) { return c.SnapshotByID(ctx, id) }
	_, err := await(ctx, c, record.SnapshotStatusKey(id), get, func(*Snapshot) (bool, error) { return false, nil })
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// SnapshotReader reads a disk of a snapshot.
type SnapshotReader = driver.SnapshotReader

// OpenSnapshot opens a disk of a finished snapshot for reading: a qcow2 image.
func (c *Cloud) OpenSnapshot(ctx context.Context, id, device string) (SnapshotReader, error) {
	s, err := c.SnapshotByID(ctx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Status.State != StateCreated:
		return nil, spec.Errorf(ErrConflict, "snapshot %s is %s", id, s.Status.State).About("snapshot", id)
	case !slices.Contains(s.Devices, device):
		return nil, spec.Errorf(ErrNotFound, "snapshot %s has no device %q, only %s", id, device, strings.Join(s.Devices, ", ")).About("snapshot", id)
	case c.agent == nil || s.Node != c.cfg.Node.Name:
		return nil, spec.Errorf(ErrUnavailable, "the snapshot is on node %s, which this process does not run", s.Node).About("snapshot", id)
	}
	return c.agent.OpenSnapshot(ctx, id, device)
}

// snapshotPrefix begins the base of a disk that is made from a snapshot:
// "snapshot:UUID", or "snapshot:UUID/DEVICE" for another than its first disk.
const snapshotPrefix = "snapshot:"

// resolveSnapshots checks the bases that are snapshots, and returns the node that
// holds them, or "".
func (c *Cloud) resolveSnapshots(ctx context.Context, namespace string, want *InstanceSpec) (node string, err error) {
	for k, d := range want.Disks {
		ref, ok := strings.CutPrefix(d.Base, snapshotPrefix)
		if !ok {
			continue
		}
		id, device, _ := strings.Cut(ref, "/")
		s, err := c.SnapshotByID(ctx, id)
		if err == nil && s.Namespace != namespace && namespace != System {
			err = spec.Errorf(ErrNotFound, "snapshot not found")
		}
		if class := spec.ClassOf(err); class != nil {
			return "", spec.Errorf(class, "disk %d: %v", k, err).About("snapshot", id)
		} else if err != nil {
			return "", fmt.Errorf("disk %d: snapshot %s: %w", k, id, err)
		}
		switch {
		case s.Status.State != StateCreated:
			return "", spec.Errorf(ErrConflict, "disk %d: snapshot %s is %s", k, id, s.Status.State).About("snapshot", id)
		case device != "" && !slices.Contains(s.Devices, device):
			return "", spec.Errorf(ErrNotFound, "disk %d: snapshot %s has no device %q, only %s", k, id, device, strings.Join(s.Devices, ", ")).About("snapshot", id)
		case node != "" && node != s.Node || want.PlacedOn != "" && want.PlacedOn != s.Node:
			return "", spec.Errorf(ErrInvalid, "disk %d: snapshot %s is kept on node %s, where the instance is not to be", k, id, s.Node).About("snapshot", id)
		}
		node = s.Node
	}
	return node, nil
}
