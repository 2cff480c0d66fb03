package sf

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// InstanceCreated waits for an instance to have been built and its power to be as
// asked; an instance in error ends the wait with ErrFailed and the cause.
func InstanceCreated(i *Instance) (bool, error) {
	switch i.Status.State {
	case StateCreated:
		return true, nil
	case StateError:
		return true, spec.Errorf(ErrFailed, "instance %s: %s", i.Name, i.Status.Error).About("instance", i.UUID)
	case StateDeleting, StateDeleted:
		return true, spec.Errorf(ErrNotFound, "instance %s was deleted", i.Name).About("instance", i.UUID)
	}
	return false, nil
}

// InstanceGone waits for an instance's deletion to be complete, or forced.
func InstanceGone(i *Instance) (bool, error) {
	return i.Deletion.Gone() || i.Deletion != nil && i.Deletion.Forced, nil
}

// PowerSettled waits for the wish of generation (of the Instance that SetPower
// returned) to be answered.
func PowerSettled(generation int64) func(*Instance) (bool, error) {
	return func(i *Instance) (bool, error) {
		if done, err := InstanceCreated(i); err != nil || !done {
			return done, err
		}
		return i.Status.Generation >= generation, nil
	}
}

// NetworkCreated waits for a network to have been built.
func NetworkCreated(n *Network) (bool, error) {
	switch n.Status.State {
	case StateCreated:
		return true, nil
	case StateError:
		return true, spec.Errorf(ErrFailed, "network %s: %s", n.Name, n.Status.Error).About("network", n.UUID)
	case StateDeleting, StateDeleted:
		return true, spec.Errorf(ErrNotFound, "network %s was deleted", n.Name).About("network", n.UUID)
	}
	return false, nil
}

// NetworkGone waits for a network's deletion to be complete.
func NetworkGone(n *Network) (bool, error) { return n.Deletion.Gone(), nil }

// WaitInstance waits until cond says so of an instance, and returns the instance
// as cond saw it last, with cond's error. When ctx ends first the error is of
// class ErrTimeout and says what the instance waits for. An instance whose record
// is forgotten meanwhile is ErrNotFound.
func (c *Cloud) WaitInstance(ctx context.Context, id string, cond func(*Instance) (bool, error)) (*Instance, error) {
	i, err := await(ctx, c, record.InstanceStatusKey(id), func() (*Instance, error) { return c.Instance(ctx, id) }, cond)
	if i == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return i, err
	}
	return i, timeout(ctx, KindInstance, id, i.Status.State, i.Status.Wait)
}

// WaitNetwork waits until cond says so of a network, like WaitInstance.
func (c *Cloud) WaitNetwork(ctx context.Context, id string, cond func(*Network) (bool, error)) (*Network, error) {
	n, err := await(ctx, c, record.NetworkStatusKey(id), func() (*Network, error) { return c.Network(ctx, id) }, cond)
	if n == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return n, err
	}
	return n, timeout(ctx, KindNetwork, id, n.Status.State, n.Status.Wait)
}

func timeout(ctx context.Context, kind Kind, id string, state State, w *Wait) error {
	why := ""
	if w != nil {
		why = ", waiting for " + w.Reason
	}
	return spec.Errorf(ErrTimeout, "%s %s is still %s%s", kind, id, state, why).About(string(kind), id).Because(context.Cause(ctx))
}

// await looks at an object whenever its status record changes.
func await[T any](ctx context.Context, c *Cloud, key string, get func() (*T, error), cond func(*T) (bool, error)) (*T, error) {
	var last *T
	look := func() (bool, error) {
		now, err := get()
		if err != nil {
			return true, err
		}
		last = now
		return cond(now)
	}
	if done, err := look(); done || err != nil {
		return last, err
	}
	for ctx.Err() == nil {
		err := c.follow(ctx, key, look)
		if !errors.Is(err, store.ErrCompacted) {
			return last, storeError(err)
		}
	}
	return last, ctx.Err()
}

// wake has whoever waits for an object look at it again although its node, which may be
// away, has nothing to report: they watch its status, which t writes as it is.
func wake[T any](ctx context.Context, c *Cloud, t *record.Txn, status string) error {
	o, err := record.Get[T](ctx, c.records, status)
	if err == nil {
		record.Replace(t, o, o.Value)
	}
	return ignoreNotFound(err)
}

// follow calls look, and again whenever something below prefix has changed, until
// look is done.
func (c *Cloud) follow(ctx context.Context, prefix string, look func() (bool, error)) error {
	now, err := c.store.List(ctx, prefix, store.Page{Limit: 1})
	if err != nil {
		return err
	}
	w, err := c.store.Watch(ctx, prefix, now.Revision)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		for {
			b, err := w.Next(ctx)
			if err != nil {
				return err
			}
			if len(b.Events) > 0 {
				break
			}
		}
	}
}

// Watch delivers the UUID of every object of a kind, KindInstance or KindNetwork,
// that is created, changed or deleted after this call, several changes of one object
// possibly as one, until ctx is done or the caller breaks off. Get the object to
// see how it is; who also wants all that is there calls Watch, then lists, and then takes
// what was watched: nothing is missed between. An error ends it: store.ErrCompacted means
// that the caller was so slow that changes were missed, so watch again and list again.
func (c *Cloud) Watch(ctx context.Context, kind Kind) iter.Seq2[string, error] {
	from, err := c.now(ctx)
	if kind != KindInstance && kind != KindNetwork {
		err = spec.Errorf(ErrInvalid, "a %s cannot be watched", kind)
	}
	return func(yield func(string, error) bool) {
		err := err
		if err == nil {
			err = storeError(c.watch(ctx, kind, from, yield))
		}
		if err != nil {
			yield("", err)
		}
	}
}

// now is the store's revision.
func (c *Cloud) now(ctx context.Context) (store.Revision, error) {
	l, err := c.store.List(ctx, record.CloudKey(), store.Page{Limit: 1})
	return l.Revision, storeError(err)
}

func (c *Cloud) watch(ctx context.Context, kind Kind, from store.Revision, yield func(string, error) bool) error {
	// Records and statuses of a kind, and nothing else, begin with its name.
	w, err := c.store.Watch(ctx, record.Root+string(kind), from)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		b, err := w.Next(ctx)
		if err != nil {
			return err
		}
		var ids []string
		for _, e := range b.Events {
			if _, id, ok := record.Split(e.Key); ok && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		for _, id := range ids {
			if !yield(id, nil) {
				return nil
			}
		}
	}
}
