package sf

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Instance returns one instance, a deleted one too while its record is kept.
func (c *Cloud) Instance(ctx context.Context, id string) (*Instance, error) {
	o, err := record.Get[spec.Instance](ctx, c.records, record.InstanceKey(id))
	if err != nil {
		return nil, notFound(err, KindInstance, id)
	}
	s, err := record.Get[spec.InstanceStatus](ctx, c.records, record.InstanceStatusKey(id))
	if err != nil {
		return nil, notFound(err, KindInstance, id)
	}
	return c.instanceOf(o, s, func(node string) (time.Time, error) { return c.unreachable(ctx, node) })
}

// instanceOf is an instance as its records and its node's absence make it.
func (c *Cloud) instanceOf(o record.Object[spec.Instance], s record.Object[spec.InstanceStatus], unreachable func(node string) (time.Time, error)) (_ *Instance, err error) {
	i := o.Value
	i.Status = s.Value
	version := strconv.AppendInt(make([]byte, 0, 40), int64(o.Revision), 10)
	i.Version = string(strconv.AppendInt(append(version, '.'), int64(s.Revision), 10))
	switch {
	case i.Deletion == nil:
		i.Status.Unreachable, err = unreachable(i.Node)
	case i.Deletion.Forced:
		i.Status.State = StateDeleted
	case !i.Deletion.Gone():
		i.Status.State = StateDeleting
		i.Status.Unreachable, err = unreachable(i.Node)
	}
	return &i, err
}

// DeleteInstance asks for an instance to be deleted, whatever it is doing; see
// WaitInstance. ErrNotFound for one that is deleted or never was. Asking again
// while it goes is nil.
func (c *Cloud) DeleteInstance(ctx context.Context, id string) error {
	now := c.cfg.Clock.Now()
	_, err := record.Update(ctx, c.records, record.InstanceKey(id), func(i *spec.Instance, t *record.Txn) error {
		if i.Deletion.Gone() {
			return store.ErrNotFound
		}
		if i.Deletion != nil {
			return record.ErrUnchanged
		}
		i.Deletion = &spec.Deletion{Requested: now}
		t.Put(record.WorkKey(i.Node, KindInstance, id), claims.Empty{})
		if err := wake[spec.InstanceStatus](ctx, c, t, record.InstanceStatusKey(id)); err != nil {
			return err
		}
		return c.records.Event(ctx, t, Event{Time: now, Kind: KindInstance, Object: id, Operation: "api", Phase: "delete"})
	})
	return notFound(err, KindInstance, id)
}

// SetPower asks for an instance to be on, off (at once, like pulling the plug) or
// paused; see WaitInstance and PowerSettled. Asking for what was asked last is a
// new wish: it starts again a guest that shut itself down.
func (c *Cloud) SetPower(ctx context.Context, id string, want PowerState) (*Instance, error) {
	if want != PowerOn && want != PowerOff && want != PowerPaused {
		return nil, spec.Errorf(ErrInvalid, "power %q is not one of on, off, paused", want).About("instance", id)
	}
	return c.setPower(ctx, id, spec.Power{Want: want})
}

// setPower records a new wish.
func (c *Cloud) setPower(ctx context.Context, id string, want spec.Power) (*Instance, error) {
	now := c.cfg.Clock.Now()
	_, err := record.Update(ctx, c.records, record.InstanceKey(id), func(i *spec.Instance, t *record.Txn) error {
		if i.Deletion != nil {
			return store.ErrNotFound
		}
		want.Generation = i.Power.Generation + 1
		i.Power = want
		t.Put(record.WorkKey(i.Node, KindInstance, id), claims.Empty{})
		if err := wake[spec.InstanceStatus](ctx, c, t, record.InstanceStatusKey(id)); err != nil {
			return err
		}
		return c.records.Event(ctx, t, Event{Time: now, Kind: KindInstance, Object: id, Operation: "api", Phase: "power " + string(want.Want)})
	})
	if err != nil {
		return nil, notFound(err, KindInstance, id)
	}
	return c.Instance(ctx, id)
}

// UserData returns the user data an instance was created with, nil if none.
func (c *Cloud) UserData(ctx context.Context, id string) ([]byte, error) {
	data, err := record.Bytes(ctx, c.records, record.UserDataKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, c.exists(ctx, KindInstance, id)
	}
	return data, storeError(err)
}

// InstanceInterfaces returns an instance's interfaces in order; none for one that
// is deleted.
func (c *Cloud) InstanceInterfaces(ctx context.Context, id string) ([]*Interface, error) {
	o, err := record.Get[spec.Instance](ctx, c.records, record.InstanceKey(id))
	if err != nil {
		return nil, notFound(err, KindInstance, id)
	}
	nics := []*Interface{}
	for _, ref := range o.Value.NICs {
		nic, err := c.interfaceOf(ctx, ref.Network, ref.UUID)
		if spec.ClassOf(err) == ErrNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

// Interface returns one interface.
func (c *Cloud) Interface(ctx context.Context, id string) (*Interface, error) {
	where, err := record.Get[claims.Where](ctx, c.records, record.InterfaceIndexKey(id))
	if err != nil {
		return nil, notFound(err, KindInterface, id)
	}
	return c.interfaceOf(ctx, where.Value.Network, id)
}

func (c *Cloud) interfaceOf(ctx context.Context, network, id string) (*Interface, error) {
	o, err := record.Get[spec.Interface](ctx, c.records, record.InterfaceKey(network, id))
	if err != nil {
		return nil, notFound(err, KindInterface, id)
	}
	return c.withState(ctx, o.Value)
}

// withState fills in an interface's state, which follows its instance's.
func (c *Cloud) withState(ctx context.Context, nic Interface) (*Interface, error) {
	s, err := record.Get[spec.InstanceStatus](ctx, c.records, record.InstanceStatusKey(nic.Instance))
	if err != nil {
		return nil, notFound(err, KindInterface, nic.UUID)
	}
	nic.State, nic.Since = StateInitial, nic.Created
	if s.Value.State == StateCreated {
		nic.State, nic.Since = StateCreated, s.Value.Since
	}
	return &nic, nil
}

// ListOptions selects what to list. The zero value is everything that is alive.
type ListOptions struct {
	Namespace string // empty means all namespaces
	All       bool   // deleted objects and those in error too
	After     string // the next that an earlier call returned; empty starts at the first
	Limit     int    // objects at most; 0 is all
}

// Instances lists instances sorted by UUID, and what to pass as After to go on
// behind them; "" at the end.
func (c *Cloud) Instances(ctx context.Context, opt ListOptions) (items []*Instance, next string, err error) {
	hidden := func(i *Instance) bool {
		return !opt.All && (i.Status.State == StateError || i.Status.State == StateDeleted)
	}
	return list(ctx, c, opt, KindInstance, record.InstancePrefix, c.instances(opt.Limit), hidden)
}

// Networks lists networks likewise. The floating network is not among them.
func (c *Cloud) Networks(ctx context.Context, opt ListOptions) (items []*Network, next string, err error) {
	hidden := func(n *Network) bool {
		return n.UUID == FloatingNetwork || !opt.All && (n.Status.State == StateError || n.Status.State == StateDeleted)
	}
	return list(ctx, c, opt, KindNetwork, record.NetworkPrefix, c.Network, hidden)
}
