package main

import (
	"context"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// events lists what happened to an object.
func (a *app) events(n noun, kind spec.Kind) *cobra.Command {
	return a.on(n, &cobra.Command{Use: "events " + n.arg, Short: "List what happened", Args: exactly(n.arg),
		Example: "  sf-client " + string(kind) + " events " + n.arg},
		func(ctx context.Context, c *client.Client, args []string) error {
			events, err := c.Events(ctx, kind, args[0])
			if err != nil {
				return err
			}
			l := &list{name: "events", json: [][]any{},
				columns: []string{"timestamp", "node", "operation", "phase", "duration", "message"},
				fields:  []string{"timestamp", "fqdn", "operation", "phase", "duration", "message"}}
			for _, e := range events {
				row := []any{stamp(e.Time), orNone(e.Node), orNone(e.Operation), orNone(e.Phase), nil, orNone(e.Message)}
				if e.Duration != 0 {
					row[4] = pyFloat(e.Duration.Seconds())
				}
				l.json = append(l.json, row)
				l.add(append([]any{a.local(e.Time)}, row[1:]...)...)
			}
			return a.print(l)
		})
}
