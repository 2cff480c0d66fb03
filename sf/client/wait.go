package client

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

const (
	// patience is how long the server may wait for a change before it answers. It
	// is shorter than what most proxies allow.
	patience = 30 * time.Second

	// Where the server does not wait, which those of 0.2 don't, the Wait methods look
	// again after firstPoll, and then less and less often.
	firstPoll = 50 * time.Millisecond
	lastPoll  = time.Second
)

// waitFor is the query that lets the server wait, in whole seconds.
func waitFor(d time.Duration) string {
	if d < time.Second {
		return ""
	}
	return "?wait=" + strconv.Itoa(int(d/time.Second))
}

// since is the query for what is newer than the version that is known.
func since(known string) string {
	if known == "" {
		return ""
	}
	return waitFor(patience) + "&version=" + url.QueryEscape(known)
}

// WaitInstance looks at an instance until cond says so, and returns it as cond saw
// it last, with cond's error. The conditions of package sf will do. When ctx ends
// first the error is of class ErrTimeout and says what the instance waits for.
func (c *Client) WaitInstance(ctx context.Context, id string, cond func(*spec.Instance) (bool, error)) (*spec.Instance, error) {
	i, err := follow(ctx, c, func(known string) (*spec.Instance, string, error) {
		i, err := c.instanceSince(ctx, id, known)
		return i, i.Version, err
	}, cond)
	if i != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = timeout(spec.KindInstance, id, i.Status.State, i.Status.Wait, err)
	}
	return i, err
}

// WaitNetwork looks at a network until cond says so, like WaitInstance.
func (c *Client) WaitNetwork(ctx context.Context, id string, cond func(*spec.Network) (bool, error)) (*spec.Network, error) {
	n, err := follow(ctx, c, func(known string) (*spec.Network, string, error) {
		n, err := c.networkSince(ctx, id, known)
		return n, n.Version, err
	}, cond)
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

// follow looks at every version of an object until cond is done. Look returns once
// the version is not the known one, where the server can wait.
func follow[T any](ctx context.Context, c *Client, look func(known string) (now *T, version string, err error), cond func(*T) (bool, error)) (*T, error) {
	var last *T
	known, d := "", firstPoll
	for {
		now, version, err := look(known)
		if err != nil {
			return last, err
		}
		last = now
		if done, err := cond(now); done || err != nil {
			return last, err
		}
		if version == "" || version == known { // it did not wait, or nothing has changed
			if err := c.cfg.Sleep(ctx, d); err != nil {
				return last, err
			}
			d = min(d*3/2, lastPoll)
		}
		known = version
	}
}
