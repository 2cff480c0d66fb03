package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// runOperations takes an instance's first operation that has not ended as far as
// it goes now. What was started by an earlier process is gone on with where that
// can be done, and ends as interrupted where it cannot: nothing is done twice.
func (a *Agent) runOperations(ctx context.Context, instance string) (time.Duration, error) {
	list, _, _, err := record.List[spec.Operation](ctx, a.Records, record.OperationPrefix(instance), store.Page{})
	if err != nil {
		return 0, err
	}
	for k, o := range list {
		s, err := record.Get[spec.OperationStatus](ctx, a.Records, record.OperationStatusPrefix(instance)+o.Value.ID)
		if missing(err) || err == nil && s.Value.State.Ended() {
			continue
		}
		if err != nil {
			return 0, err
		}
		op := o.Value
		op.Status = s.Value
		after, err := a.runOperation(ctx, &op)
		if after != again || err != nil {
			for _, next := range list[k+1:] { // whose time is running
				a.timeLeft(&next.Value)
			}
			return after, err
		}
	}
	return never, nil
}

// runOperation returns again when op has ended.
func (a *Agent) runOperation(ctx context.Context, op *spec.Operation) (time.Duration, error) {
	i, err := a.load(ctx, op.Instance)
	switch {
	case missing(err):
		return never, nil
	case err != nil:
		return 0, err
	case i.Node != a.Name:
		return never, nil
	case i.Deletion != nil:
		a.queue.Add(keyInstance + op.Instance) // its deletion waits for this
		return a.giveUp(ctx, op, errInstanceDeleted)
	case op.Node != "" && op.Node != a.Name:
		return a.giveUp(ctx, op, errMoved)
	case op.Kind != spec.OpSnapshot && op.Status.Asked:
		return a.awaitBoot(ctx, i, op)
	case a.timeLeft(op) <= 0:
		return a.giveUp(ctx, op, errDeadline)
	}
	if op.Kind == spec.OpSnapshot {
		return a.runSnapshot(ctx, i, op)
	}
	return a.runReboot(ctx, op)
}

// runReboot asks for a new boot, once: the intent is written down before it, the
// fact after it, and what comes upon the first without the second does not ask again.
func (a *Agent) runReboot(ctx context.Context, op *spec.Operation) (time.Duration, error) {
	if op.Status.State == spec.OperationStarted {
		return a.endOperation(ctx, op, spec.OperationInterrupted, "the node's agent was stopped in the middle of it")
	}
	m, err := a.Hypervisor.Inspect(ctx, op.Instance)
	if err != nil {
		return 0, fmt.Errorf("inspect machine %s: %w", op.Instance, err)
	}
	err = a.reportOperation(ctx, op, func(s *spec.OperationStatus) { s.State, s.Boots = spec.OperationStarted, m.Boot+m.Resets })
	if err != nil {
		return 0, err
	}
	if err := a.reboot(ctx, op); err != nil {
		return a.endOperation(ctx, op, spec.OperationFailed, err.Error())
	}
	if err := a.reportOperation(ctx, op, func(s *spec.OperationStatus) { s.Asked = true }); err != nil {
		return 0, err
	}
	a.queue.Add(keyInstance + op.Instance)
	i, err := a.load(ctx, op.Instance)
	if err != nil {
		return 0, err
	}
	return a.awaitBoot(ctx, i, op)
}

// awaitBoot ends a reboot once the instance's status tells of a new boot, so that
// whatever is read of the instance after that is of this boot.
func (a *Agent) awaitBoot(ctx context.Context, i *spec.Instance, op *spec.Operation) (time.Duration, error) {
	left := a.timeLeft(op)
	switch {
	case i.Status.Boots() > op.Status.Boots:
		return a.endOperation(ctx, op, spec.OperationDone, "")
	case i.Status.Power == spec.PowerOff || i.Status.Power == spec.PowerCrashed:
		return a.endOperation(ctx, op, spec.OperationFailed, "the instance is "+string(i.Status.Power)+" now and did not boot again")
	case left <= 0:
		return a.endOperation(ctx, op, spec.OperationFailed, errIgnored.Error())
	}
	return left, nil
}

// Why operations are given up.
var (
	errInstanceDeleted = errors.New("the instance was deleted")
	errMoved           = errors.New("the instance was started again on another node")
	errDeadline        = errors.New("it did not end by its deadline")
	errIgnored         = errors.New("the guest did not restart when it was asked to: it may not react to its power button")
)

// giveUp ends an operation that is not to go on.
func (a *Agent) giveUp(ctx context.Context, op *spec.Operation, why error) (time.Duration, error) {
	if op.Kind == spec.OpSnapshot {
		return a.failSnapshot(ctx, op, why)
	}
	return a.endOperation(ctx, op, spec.OperationFailed, why.Error())
}

// operating reports whether an instance has operations that have not ended.
func (a *Agent) operating(ctx context.Context, instance string) (bool, error) {
	list, _, _, err := record.List[spec.OperationStatus](ctx, a.Records, record.OperationStatusPrefix(instance), store.Page{})
	for _, o := range list {
		if !o.Value.State.Ended() {
			return true, err
		}
	}
	return false, err
}

func (a *Agent) reboot(ctx context.Context, op *spec.Operation) error {
	if op.Kind == spec.OpReset {
		r, ok := driver.As[driver.Resetter](a.Hypervisor)
		if !ok {
			return fmt.Errorf("reset: %w by this hypervisor", errors.ErrUnsupported)
		}
		return r.Reset(ctx, op.Instance)
	}
	r, ok := driver.As[driver.Rebooter](a.Hypervisor)
	if !ok {
		return fmt.Errorf("reboot: %w by this hypervisor", errors.ErrUnsupported)
	}
	return r.Reboot(ctx, op.Instance)
}

// endOperation reports an end, and answers that the next operation may run.
func (a *Agent) endOperation(ctx context.Context, op *spec.Operation, state spec.OperationState, why string) (time.Duration, error) {
	err := a.reportOperation(ctx, op, func(s *spec.OperationStatus) { s.State, s.Error = state, why })
	if err == nil {
		a.ended(op)
	}
	return again, err
}

func (a *Agent) reportOperation(ctx context.Context, op *spec.Operation, change func(*spec.OperationStatus)) error {
	key := record.OperationStatusPrefix(op.Instance) + op.ID
	o, err := record.Update(ctx, a.Records, key, func(s *spec.OperationStatus, t *record.Txn) error {
		was := *s
		if change(s); *s == was {
			return record.ErrUnchanged
		}
		if s.State == was.State {
			return nil
		}
		s.Since = a.Clock.Now()
		if !s.State.Ended() {
			return nil
		}
		e := a.event(spec.KindInstance, op.Instance, string(op.Kind), string(s.State), s.Error)
		if s.State == spec.OperationDone {
			e.Phase = "complete"
		}
		e.Duration = s.Since.Sub(op.Created)
		return a.Records.Event(ctx, t, e)
	})
	if missing(err) {
		return nil // forgotten with its instance
	}
	op.Status = o.Value
	return err
}
