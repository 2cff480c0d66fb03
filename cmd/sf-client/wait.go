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
		Use:   "wait UUID",
		Short: "Wait until an instance is created, runs, asks for a login, or is gone",
		Long: `Wait until an instance is created, runs, asks for a login, or is gone.

A login prompt is one on the serial console since the instance was last started.
The exit status is 1 where it can't come to that any more, or the time is over.`,
		Example: "  sf-client instance wait UUID --for login --timeout 5m",
		Args:    exactly("UUID"),
	}
	what := c.Flags().String("for", "running", "created, running, login or deleted")
	c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"created", "running", "login", "deleted"}, cobra.ShellCompDirectiveNoFileComp))
	timeout := c.Flags().Duration("timeout", 10*time.Minute, "how long at most; 0 is for ever")
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
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
			return a.done(a.waitInstance(ctx, cl, args[0], loggedIn(ctx, cl)))
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

// loggedIn waits for the event that the console's watcher writes.
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
			if e.Operation == "trigger" && e.Message == "login prompt" && (e.Time.After(start) || e.Last.After(start)) {
				return true, nil
			}
		}
		return false, nil
	}
}
