package sf

import (
	"context"
	"errors"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// How long operations may take in all, waiting for their turn included.
const (
	rebootDeadline   = 5 * time.Minute
	snapshotDeadline = 6 * time.Hour
)

// keepOperations is how many ended operations of an instance stay readable, and
// trimAtOnce how many a new one forgets at most: a transaction takes no number of them.
const (
	keepOperations = 16
	trimAtOnce     = 16
)

// Reboot asks for an instance to be restarted: by its guest, or with hard by its
// reset button. It happens once, after the operations asked for before; see
// WaitOperation. ErrConflict where the instance is not on.
func (c *Cloud) Reboot(ctx context.Context, id string, hard bool) (*Operation, error) {
	kind := spec.OpReboot
	if hard {
		kind = spec.OpReset
	}
	return c.operate(ctx, id, kind, func(i *Instance, _ *record.Txn, _ *Operation) error {
		if i.Status.Power != PowerOn {
			return spec.Errorf(ErrConflict, "instance %s is %s: only one that is on can be rebooted", i.Name, i.Status.Power).About("instance", id)
		}
		return nil
	})
}

// operate records an operation on an instance, in one transaction with what
// prepare adds.
func (c *Cloud) operate(ctx context.Context, id string, kind spec.OperationKind, prepare func(*Instance, *record.Txn, *Operation) error) (*Operation, error) {
	var op *Operation
	err := record.Retry(ctx, func() error {
		as, err := record.Get[spec.Instance](ctx, c.records, record.InstanceKey(id))
		if err != nil {
			return notFound(err, KindInstance, id)
		}
		i, err := c.Instance(ctx, id)
		if err != nil {
			return err
		}
		if i.Deletion != nil {
			return spec.Errorf(ErrNotFound, "instance not found").About("instance", id)
		}
		if i.Status.State != StateCreated {
			return spec.Errorf(ErrConflict, "instance %s is %s: it can be operated on when it is created", i.Name, i.Status.State).About("instance", id)
		}
		t := c.records.Begin()
		last, err := c.trimOperations(ctx, t, id)
		if err != nil {
			return err
		}
		now := c.cfg.Clock.Now()
		op = &Operation{
			ID:       record.OrderedID(now, last, c.newUUID()),
			Instance: id, Namespace: i.Namespace, Kind: kind, Node: i.Node, Created: now, Deadline: now.Add(rebootDeadline),
			Status: spec.OperationStatus{State: spec.OperationPending, Since: now},
		}
		if err := prepare(i, t, op); err != nil {
			return err
		}
		t.Create(record.OperationPrefix(id)+op.ID, op)
		t.Put(record.OperationStatusPrefix(id)+op.ID, op.Status)
		t.If(store.RevisionIs(as.Key, as.Revision)) // it is not deleted, nor elsewhere
		t.Put(record.WorkKey(i.Node, KindInstance, id), claims.Empty{})
		if err := c.records.Event(ctx, t, Event{Time: now, Kind: KindInstance, Object: id, Operation: "api", Phase: string(kind)}); err != nil {
			return err
		}
		_, err = c.records.Commit(ctx, t)
		return err
	})
	if err != nil {
		return nil, storeError(err)
	}
	return op, nil
}

// trimOperations forgets ended operations beyond the last few, the oldest first. It
// returns the ID of the last.
func (c *Cloud) trimOperations(ctx context.Context, t *record.Txn, instance string) (last string, err error) {
	list, _, _, err := record.List[spec.OperationStatus](ctx, c.records, record.OperationStatusPrefix(instance), store.Page{})
	if err != nil || len(list) == 0 {
		return "", err
	}
	for i, n := 0, 0; i < len(list)-keepOperations && n < trimAtOnce; i++ {
		if list[i].Value.State.Ended() {
			n++
			t.Delete(list[i].Key, record.OperationPrefix(instance)+record.Base(list[i].Key))
		}
	}
	return record.Base(list[len(list)-1].Key), nil
}

// Operation returns one operation of an instance.
func (c *Cloud) Operation(ctx context.Context, instance, id string) (*Operation, error) {
	o, err := record.Get[spec.Operation](ctx, c.records, record.OperationPrefix(instance)+id)
	if err != nil {
		return nil, notFound(err, spec.KindOperation, id)
	}
	s, err := record.Get[spec.OperationStatus](ctx, c.records, record.OperationStatusPrefix(instance)+id)
	if err != nil {
		return nil, notFound(err, spec.KindOperation, id)
	}
	op := o.Value
	op.Status = s.Value
	return &op, nil
}

// Operations returns an instance's operations, oldest first: all that have not
// ended, and the last that have.
func (c *Cloud) Operations(ctx context.Context, instance string) ([]*Operation, error) {
	list, _, _, err := record.List[spec.Operation](ctx, c.records, record.OperationPrefix(instance), store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	ops := []*Operation{}
	for _, o := range list {
		op, err := c.Operation(ctx, instance, o.Value.ID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// WaitOperation waits for an operation to end. One that did not succeed is an
// error of class ErrFailed that says why; when ctx ends first it is ErrTimeout.
func (c *Cloud) WaitOperation(ctx context.Context, op *Operation) (*Operation, error) {
	get := func() (*Operation, error) { return c.Operation(ctx, op.Instance, op.ID) }
	now, err := await(ctx, c, record.OperationStatusPrefix(op.Instance)+op.ID, get, func(o *Operation) (bool, error) {
		switch o.Status.State {
		case spec.OperationDone:
			return true, nil
		case spec.OperationFailed, spec.OperationInterrupted:
			return true, spec.Errorf(ErrFailed, "%s: %s", o.Kind, o.Status.Error).About("instance", op.Instance)
		}
		return false, nil
	})
	if now == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return now, err
	}
	return now, timeout(ctx, spec.KindOperation, string(op.Kind), State(now.Status.State), nil)
}
