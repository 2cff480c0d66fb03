package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

const snapshots = "/snapshots"

// Snapshot asks for a copy of an instance's boot disk, or with all of all its
// disks that a guest can write, as they are at one moment. It returns the
// snapshot's UUID; the snapshot can be used when the operation has ended, see
// WaitOperation. What a Sync client, or one of a server of 0.2, returns has ended.
func (c *Client) Snapshot(ctx context.Context, instance string, all bool) (id string, op *spec.Operation, err error) {
	err = c.do(ctx, call{method: http.MethodPost, path: c.path(instances + pathOf(instance, "snapshot")), args: allArg(all), into: &id})
	if err != nil || c.sync {
		return id, done(instance, spec.OpSnapshot), err
	}
	ops, err := c.Operations(ctx, instance)
	for _, op := range ops {
		if op.Snapshot == id {
			return id, op, nil
		}
	}
	if errors.Is(err, spec.ErrNotFound) {
		err = nil // the server knows no operations: it has waited
	}
	return id, done(instance, spec.OpSnapshot), err
}

// InstanceSnapshots returns an instance's snapshots, oldest first, also when the
// instance is gone. Their namespaces and nodes are not filled in.
func (c *Client) InstanceSnapshots(ctx context.Context, instance string) ([]*spec.Snapshot, error) {
	var list []copyRecord
	err := c.get(ctx, instances+pathOf(instance, "snapshot"), &list)
	return snapshotsOf(list), err
}

// Snapshots returns the snapshots of the client's namespace, of all namespaces for
// system, oldest first.
func (c *Client) Snapshots(ctx context.Context) ([]*spec.Snapshot, error) {
	var list []snapshotRecord
	err := c.get(ctx, snapshots, &list)
	return each(list, (*snapshotRecord).snapshot), err
}

// SnapshotByID returns one snapshot.
func (c *Client) SnapshotByID(ctx context.Context, id string) (*spec.Snapshot, error) {
	var r snapshotRecord
	err := c.get(ctx, snapshots+pathOf(id), &r)
	return r.snapshot(), err
}

// DeleteSnapshot asks for a snapshot to be removed; one that is being made is
// given up. See WaitSnapshotGone.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: c.path(snapshots + pathOf(id))})
}

// WaitSnapshotGone waits for a snapshot's removal.
func (c *Client) WaitSnapshotGone(ctx context.Context, id string) error {
	_, err := follow(ctx, c, func(string) (*spec.Snapshot, string, error) {
		s, err := c.SnapshotByID(ctx, id)
		return s, "", err
	}, func(*spec.Snapshot) (bool, error) { return false, nil })
	if errors.Is(err, spec.ErrNotFound) {
		return nil
	}
	if ctx.Err() != nil {
		err = timeout(spec.KindSnapshot, id, spec.StateDeleting, nil, ctx.Err())
	}
	return err
}
