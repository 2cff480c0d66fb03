package main

import (
	"context"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// wait is the command that waits for something to become of an instance.
func (a *app) wait() *cobra.Command {
	c := &cobra.Command{
		Use:   "wait INSTANCE",
		Short: "Wait until an instance is created, runs, asks for a login, or is gone",
		Long: `Wait until an instance is created, runs, asks for a login, or is gone.

A login prompt is one on the serial console since the guest last booted.
The exit status is 1 where it can't come to that any more, or the time is over.`,
		Example: "  sf-client instance wait vm1 --for login --timeout 5m",
		Args:    exactly("INSTANCE"),
	}
	what := c.Flags().String("for", "running", "created, running, login or deleted")
	choices(c, "for", "created", "running", "login", "deleted")
	timeout := c.Flags().Duration("timeout", 10*time.Minute, "how long at most; 0 is for ever")
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		if *timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, *timeout)
			defer cancel()
		}
		switch *what {
		case "created":
			return a.done(a.waitInstance(ctx, cl, args[0], client.InstanceCreated))
		case "running":
			return a.done(a.waitInstance(ctx, cl, args[0], running))
		case "login":
			return a.done(a.waitLogin(ctx, cl, args[0]))
		case "deleted":
			return a.done(a.gone(ctx, cl, args[0]))
		}
		return usage("--for %q is not one of created, running, login, deleted", *what)
	})
}

func running(i *spec.Instance) (bool, error) {
	if done, err := client.InstanceCreated(i); !done || err != nil {
		return done, err
	}
	return i.Status.Power == spec.PowerOn, nil
}

// slack is how much earlier than its power state an event of the same start may
// be: the state is written a moment after the machine runs.
const slack = 2 * time.Second

// loginPoll is how often the events are looked at for a prompt.
const loginPoll = 250 * time.Millisecond

// waitLogin waits for an instance to run, and then for a login prompt. A prompt is
// an event, and does not change the instance.
func (a *app) waitLogin(ctx context.Context, c *client.Client, id string) error {
	prompt := loggedIn(ctx, c)
	line := &status{a: a}
	defer line.clear()
	for {
		var now *spec.Instance
		_, err := c.WaitInstance(ctx, id, func(i *spec.Instance) (bool, error) {
			now = i
			line.say(i.Status.State, i.Status.Wait)
			return running(i)
		})
		if err != nil {
			return err
		}
		line.show("waiting for a login prompt")
		if done, err := prompt(now); done || err != nil {
			return err
		}
		if err := a.nap(ctx, loginPoll); err != nil {
			return spec.Errorf(spec.ErrTimeout, "instance %s runs, but has not asked for a login yet", id).About("instance", id).Because(err)
		}
	}
}

// nap waits for d, or until ctx is done.
func (a *app) nap(ctx context.Context, d time.Duration) error {
	if a.sleep != nil {
		return a.sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loggedIn looks for the event that the console's watcher writes.
func loggedIn(ctx context.Context, c *client.Client) func(*spec.Instance) (bool, error) {
	return func(i *spec.Instance) (bool, error) {
		if done, err := running(i); !done || err != nil {
			return done, err
		}
		var start time.Time
		if i.Status.PowerBefore != spec.PowerPaused { // which is no start
			start = i.Status.PowerSince.Add(-slack)
		}
		events, err := c.Events(ctx, spec.KindInstance, i.UUID)
		if err != nil {
			return false, err
		}
		for _, e := range events {
			if e.Operation == spec.EventRestarted {
				start = later(start, later(e.Time, e.Last))
			}
		}
		for _, e := range events {
			if e.Operation == "trigger" && e.Message == "login prompt" && (e.Time.After(start) || e.Last.After(start)) {
				return true, nil
			}
		}
		return false, nil
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
