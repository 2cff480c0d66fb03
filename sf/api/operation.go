package api

import (
	"github.com/shakenfist/cloud/sf/spec"
)

func (q *request) rebootSoft() (any, error) { return q.reboot(false) }
func (q *request) rebootHard() (any, error) { return q.reboot(true) }

// reboot restarts an instance once, and waits until that has happened. A caller
// who does not wait gets the operation instead of null.
func (q *request) reboot(hard bool) (any, error) {
	op, err := q.cloud.Reboot(q.lasting(), q.instance.UUID, hard)
	if err != nil {
		return nil, or(err, errInstanceNotFound)
	}
	if q.asked("async") {
		return wireOperation(op), nil
	}
	return nil, q.waitOperation(op, "rebooted")
}

// waitOperation waits for an operation's end. done says, for the text of a
// time-out, what should have become of the instance.
func (q *request) waitOperation(op *spec.Operation, done string) error {
	ctx := q.patient()
	_, err := q.cloud.WaitOperation(ctx, op)
	if err == nil || ctx.Err() == nil {
		return unseen(err, spec.KindInstance, op.Instance, done)
	}
	return q.overdue(spec.KindInstance, op.Instance, done, nil)
}

func (q *request) listOperations() (any, error) {
	ops, err := q.cloud.Operations(q.ctx(), q.instance.UUID)
	out := make([]operationWire, 0, len(ops))
	for _, op := range ops {
		out = append(out, wireOperation(op))
	}
	if err != nil {
		return nil, err
	}
	return listed(q, out, func(o operationWire) string { return o.ID })
}

// getOperation shows one operation; with ?wait= once it has ended, or after so
// many seconds as it is then.
func (q *request) getOperation() (any, error) {
	d, err := q.patience()
	if err != nil {
		return nil, err
	}
	op, err := q.cloud.Operation(q.ctx(), q.instance.UUID, q.path("operation_id"))
	if err != nil {
		return nil, err
	}
	if d > 0 && !op.Status.State.Ended() {
		ctx, cancel := q.upTo(d)
		defer cancel()
		now, err := q.cloud.WaitOperation(ctx, op)
		switch {
		case q.ctx().Err() != nil:
			return nil, errGone
		case now == nil && err != nil && ctx.Err() == nil:
			return nil, err
		case now != nil:
			op = now // how it ended is in it
		}
	}
	return partOf(q, wireOperation(op))
}

type operationWire struct {
	ID           string              `json:"id"`
	InstanceUUID string              `json:"instance_uuid"`
	Namespace    string              `json:"namespace"`
	Kind         spec.OperationKind  `json:"kind"`
	SnapshotUUID *string             `json:"snapshot_uuid"`
	Created      seconds             `json:"created"`
	Deadline     seconds             `json:"deadline"`
	State        spec.OperationState `json:"state"`
	StateUpdated seconds             `json:"state_updated"`
	Error        string              `json:"error,omitempty"`
	Done         int64               `json:"done,omitempty"`  // bytes
	Total        int64               `json:"total,omitempty"` // bytes
}

func wireOperation(o *spec.Operation) operationWire {
	return operationWire{
		ID: o.ID, InstanceUUID: o.Instance, Namespace: o.Namespace, Kind: o.Kind, SnapshotUUID: orNull(o.Snapshot), Created: at(o.Created), Deadline: at(o.Deadline),
		State: o.Status.State, StateUpdated: at(o.Status.Since), Error: o.Status.Error, Done: o.Status.Done, Total: o.Status.Total,
	}
}
