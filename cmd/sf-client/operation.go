package main

import (
	"context"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

func (a *app) reboot() *cobra.Command {
	c := &cobra.Command{
		Use:     "reboot INSTANCE",
		Short:   "Restart an instance: its guest does it, or with --hard its reset button",
		Args:    exactly("INSTANCE"),
		Example: "  sf-client instance reboot vm1\n  sf-client instance reboot vm1 --hard",
	}
	var hard, soft bool
	c.Flags().BoolVar(&hard, "hard", false, "press the reset button, whatever the guest does")
	c.Flags().BoolVar(&soft, "soft", false, "ask the guest to restart itself (the default)")
	c.MarkFlagsMutuallyExclusive("hard", "soft")
	p := a.patient(c)
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		op, err := p.client(cl).Reboot(ctx, args[0], hard)
		if err == nil && !p.async {
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
	return a.on(instanceNoun, &cobra.Command{Use: "operations INSTANCE", Short: "List reboots and snapshots, also those to come", Args: exactly("INSTANCE"),
		Example: "  sf-client instance operations vm1"},
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
