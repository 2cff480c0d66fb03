package client

import "github.com/shakenfist/cloud/sf/spec"

// The conditions of package sf, for programs that do not link it.

// InstanceCreated waits for an instance to have been built; one in error ends the
// wait with ErrFailed and the cause.
func InstanceCreated(i *spec.Instance) (bool, error) {
	switch i.Status.State {
	case spec.StateCreated:
		return true, nil
	case spec.StateError:
		return true, spec.Errorf(spec.ErrFailed, "instance %s: %s", i.Name, i.Status.Error).About("instance", i.UUID)
	case spec.StateDeleting, spec.StateDeleted:
		return true, spec.Errorf(spec.ErrNotFound, "instance %s was deleted", i.Name).About("instance", i.UUID)
	}
	return false, nil
}

// InstanceGone waits for an instance's deletion to be complete.
func InstanceGone(i *spec.Instance) (bool, error) { return i.Status.State == spec.StateDeleted, nil }

// PowerSettled waits for the wish of generation (of the Instance that SetPower
// returned) to be answered.
func PowerSettled(generation int64) func(*spec.Instance) (bool, error) {
	return func(i *spec.Instance) (bool, error) {
		if done, err := InstanceCreated(i); err != nil || !done {
			return done, err
		}
		return i.Status.Generation >= generation, nil
	}
}

// NetworkCreated waits for a network to have been built; one in error ends the
// wait with ErrFailed and the cause.
func NetworkCreated(n *spec.Network) (bool, error) {
	switch n.Status.State {
	case spec.StateCreated:
		return true, nil
	case spec.StateError:
		return true, spec.Errorf(spec.ErrFailed, "network %s: %s", n.Name, n.Status.Error).About("network", n.UUID)
	case spec.StateDeleting, spec.StateDeleted:
		return true, spec.Errorf(spec.ErrNotFound, "network %s was deleted", n.Name).About("network", n.UUID)
	}
	return false, nil
}

// NetworkGone waits for a network's deletion to be complete.
func NetworkGone(n *spec.Network) (bool, error) { return n.Status.State == spec.StateDeleted, nil }
