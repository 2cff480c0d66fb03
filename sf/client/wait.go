package client

import (
	"context"
	"errors"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// The Wait methods look again after firstPoll, and then less and less often.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = time.Second
)

// WaitInstance looks at an instance until cond says so, and returns it as cond saw
// it last, with cond's error. The conditions of package sf will do. When ctx ends
// first the error is of class ErrTimeout and says what the instance waits for.
func (c *Client) WaitInstance(ctx context.Context, id string, cond func(*spec.Instance) (bool, error)) (*spec.Instance, error) {
	i, err := poll(ctx, c, func() (*spec.Instance, error) { return c.Instance(ctx, id) }, cond)
	if i != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = timeout(spec.KindInstance, id, i.Status.State, i.Status.Wait, err)
	}
	return i, err
}

// WaitNetwork looks at a network until cond says so, like WaitInstance.
func (c *Client) WaitNetwork(ctx context.Context, id string, cond func(*spec.Network) (bool, error)) (*spec.Network, error) {
	n, err := poll(ctx, c, func() (*spec.Network, error) { return c.Network(ctx, id) }, cond)
	if n != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = timeout(spec.KindNetwork, id, n.Status.State, n.Status.Wait, err)
	}
	return n, err
}

func timeout(kind spec.Kind, id string, state spec.State, w *spec.Wait, cause error) error {
	why := ""
	if w != nil {
		why = ", waiting for " + w.Reason
	}
	return spec.Errorf(spec.ErrTimeout, "%s %s is still %s%s", kind, id, state, why).About(string(kind), id).Because(cause)
}

func poll[T any](ctx context.Context, c *Client, look func() (*T, error), cond func(*T) (bool, error)) (*T, error) {
	var last *T
	for d := firstPoll; ; d = min(d*3/2, lastPoll) {
		now, err := look()
		if err != nil {
			return last, err
		}
		last = now
		if done, err := cond(now); done || err != nil {
			return last, err
		}
		if err := c.cfg.Sleep(ctx, d); err != nil {
			return last, err
		}
	}
}
