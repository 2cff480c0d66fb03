package netfab

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrAborted stops an Apply at once, as the death of the process would; tests
// of crash safety have a fabric's hook return it.
var ErrAborted = errors.New("netfab: aborted")

// Run executes steps in order through do, as Apply promises: the first failure
// of a network ends that network's steps and no other's, and is one
// *NetworkError; without an outside no gateway is made. What fails of no network is
// a *HostError. Networks in bad are left as they are and their errors joined in. A context that is done and
// ErrAborted end the run.
func Run(ctx context.Context, steps []Step, bad []*NetworkError, do func(Step) error) error {
	failed := map[string]bool{}
	var errs []error
	for _, b := range bad {
		failed[b.Network] = true
		errs = append(errs, b)
	}
	var outside error
	for _, s := range steps {
		if failed[s.Network] {
			continue
		}
		err := ctx.Err()
		if err == nil && s.Op == GatewaySet && outside != nil {
			err = fmt.Errorf("the outside segment could not be set up: %w", outside)
		}
		if err == nil {
			err = do(s)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, ErrAborted):
			return errors.Join(append(errs, err)...)
		case s.Network == "":
			errs = append(errs, &HostError{Err: fmt.Errorf("%s: %w", s.Op, err)})
			if s.Op == OutsideSet {
				outside = err
			}
		default:
			failed[s.Network] = true
			errs = append(errs, &NetworkError{Network: s.Network, Err: fmt.Errorf("%s: %w", s.Op, err)})
		}
	}
	return errors.Join(slices.Clip(errs)...)
}
