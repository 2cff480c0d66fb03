package client

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// Reboot asks for an instance to be restarted: by its guest, or with hard by its
// reset button; see WaitOperation. ErrConflict where the instance is not on.
// What a Sync client, or one of a server of 0.2, returns has ended.
func (c *Client) Reboot(ctx context.Context, id string, hard bool) (*spec.Operation, error) {
	verb, kind := "rebootsoft", spec.OpReboot
	if hard {
		verb, kind = "reboothard", spec.OpReset
	}
	var r *operationRecord
	if err := c.do(ctx, call{method: http.MethodPost, path: c.path(instances + pathOf(id, verb)), into: &r}); err != nil {
		return nil, err
	}
	if r == nil {
		return done(id, kind), nil
	}
	return r.operation(), nil
}

// done is an operation that the server has waited for.
func done(instance string, kind spec.OperationKind) *spec.Operation {
	return &spec.Operation{Instance: instance, Kind: kind, Status: spec.OperationStatus{State: spec.OperationDone}}
}

// Operations returns an instance's operations, oldest first: all that have not
// ended, and the last that have.
func (c *Client) Operations(ctx context.Context, instance string) ([]*spec.Operation, error) {
	var list []operationRecord
	err := c.get(ctx, instances+pathOf(instance, "operations"), &list)
	return each(list, (*operationRecord).operation), err
}

// Operation returns one operation of an instance.
func (c *Client) Operation(ctx context.Context, instance, id string) (*spec.Operation, error) {
	return c.operation(ctx, instance, id, 0)
}

// operation returns an operation when it has ended, or after d as it is then.
func (c *Client) operation(ctx context.Context, instance, id string, d time.Duration) (*spec.Operation, error) {
	var r operationRecord
	err := c.get(ctx, instances+pathOf(instance, "operations", id)+waitFor(d), &r)
	return r.operation(), err
}

// WaitOperation waits for an operation to end, and shows it to seen (which may be
// nil) about once a second until then. One that did not succeed is an error of
// class ErrFailed that says why; when ctx ends first it is ErrTimeout.
func (c *Client) WaitOperation(ctx context.Context, op *spec.Operation, seen func(*spec.Operation)) (*spec.Operation, error) {
	d, pause := patience, firstPoll
	if seen != nil {
		d = time.Second
	}
	for {
		if seen != nil {
			seen(op)
		}
		switch op.Status.State {
		case spec.OperationDone:
			return op, nil
		case spec.OperationFailed, spec.OperationInterrupted:
			return op, spec.Errorf(spec.ErrFailed, "%s: %s", op.Kind, op.Status.Error).About("instance", op.Instance)
		}
		now, err := c.operation(ctx, op.Instance, op.ID, d)
		if err == nil && now.Status == op.Status { // it may not have waited, as one that is to stop
			err = c.cfg.Sleep(ctx, pause)
			pause = min(pause*3/2, lastPoll)
		}
		if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return op, spec.Errorf(spec.ErrTimeout, "%s is still %s", op.Kind, op.Status.State).About("instance", op.Instance).Because(err)
		}
		if err != nil {
			return op, err
		}
		op = now
	}
}
