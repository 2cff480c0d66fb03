package main

import (
	"context"
	"errors"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// patience is how long a command waits for what it asked for to happen.
type patience struct {
	a       *app
	async   bool
	timeout time.Duration
}

// patient gives a command its options.
func (a *app) patient(c *cobra.Command) *patience {
	p := &patience{a: a}
	c.Flags().BoolVar(&p.async, "async", false, "do not wait")
	c.Flags().DurationVar(&p.timeout, "timeout", 0, "wait no longer than this, like 90s or 5m; what was asked for goes on")
	c.MarkFlagsMutuallyExclusive("async", "timeout")
	return p
}

// limit ends waiting when the time is over.
func (p *patience) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, p.timeout)
}

// client is the client for the call. Where nobody looks the server waits, which takes
// one request; with progress shown or a limit, waiting is ours.
func (p *patience) client(c *client.Client) *client.Client {
	if p.async || p.ours() {
		return c
	}
	return c.Sync()
}

// ours reports whether waiting is left to us.
func (p *patience) ours() bool { return !p.async && (p.a.progress || p.timeout > 0) }

// overdue is the ID of the object that the server has lost patience with.
func overdue(err error) (id string, ok bool) {
	e := (*spec.Error)(nil)
	if errors.As(err, &e) && e.Class == spec.ErrTimeout && e.ID != "" {
		return e.ID, true
	}
	return "", false
}

// settle waits with wait after a call whose outcome is err, if waiting is left to do.
func (p *patience) settle(err error, wait func() error) error {
	if _, late := overdue(err); late || err == nil && p.ours() {
		return wait()
	}
	return err
}
