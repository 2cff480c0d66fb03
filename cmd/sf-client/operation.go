package main

import (
	"context"
	"errors"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// waits is the client for a call whose end is waited for. Where nobody looks the
// server waits, which takes one request; with progress shown, waiting is ours.
func (a *app) waits(c *client.Client, async bool) *client.Client {
	if async || a.progress {
		return c
	}
	return c.Sync()
}

// overdue is the ID of the object that the server has lost patience with.
func overdue(err error) (id string, ok bool) {
	e := (*spec.Error)(nil)
	if errors.As(err, &e) && e.Class == spec.ErrTimeout && e.ID != "" {
		return e.ID, true
	}
	return "", false
}

func (a *app) reboot() *cobra.Command {
	c := &cobra.Command{
		Use:   "reboot UUID",
		Short: "Restart an instance: its guest does it, or with --hard its reset button",
		Args:  exactly("UUID"),
	}
	var hard, soft, async bool
	c.Flags().BoolVar(&hard, "hard", false, "press the reset button, whatever the guest does")
	c.Flags().BoolVar(&soft, "soft", false, "ask the guest to restart itself (the default)")
	c.MarkFlagsMutuallyExclusive("hard", "soft")
	c.Flags().BoolVar(&async, "async", false, "do not wait")
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		op, err := a.waits(cl, async).Reboot(ctx, args[0], hard)
		if err == nil && !async {
			err = a.waitOperation(ctx, cl, op)
		}
		return a.done(err)
	})
}

// waitOperation waits for an operation's end and shows how far it is.
func (a *app) waitOperation(ctx context.Context, c *client.Client, op *spec.Operation) error {
	if !a.progress {
		_, err := c.WaitOperation(ctx, op, nil)
		return err
	}
	line := &status{a: a}
	defer line.clear()
	_, err := c.WaitOperation(ctx, op, func(op *spec.Operation) {
		line.show(string(op.Kind) + " " + string(op.Status.State) + share(op.Status.Done, op.Status.Total))
	})
	return err
}

func (a *app) operations() *cobra.Command {
	return a.does(&cobra.Command{Use: "operations UUID", Short: "List reboots and snapshots, also those to come", Args: exactly("UUID")},
		func(ctx context.Context, c *client.Client, args []string) error {
			ops, err := c.Operations(ctx, args[0])
			if err != nil {
				return err
			}
			columns := []string{"id", "kind", "snapshot", "created", "state", "error"}
			l := &list{name: "operations", columns: columns, fields: columns, json: [][]any{}}
			for _, op := range ops {
				row := []any{op.ID, op.Kind, orNone(op.Snapshot), a.local(op.Created), op.Status.State, orNone(op.Status.Error)}
				l.add(row...)
				asNumber := append([]any{}, row...)
				asNumber[3] = stamp(op.Created)
				l.json = append(l.json, asNumber)
			}
			return a.print(l)
		})
}
