package main

import (
	"context"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// events lists or follows what happens to an object.
func (a *app) events(n noun, kind spec.Kind) *cobra.Command {
	c := &cobra.Command{Use: "events " + n.arg, Short: "List what happened; with --follow, go on with what happens next", Args: exactly(n.arg),
		Example: "  sf-client " + string(kind) + " events " + n.arg + "\n  sf-client --json " + string(kind) + " events " + n.arg + " --follow"}
	f := following(c, 0)
	return a.on(n, c, func(ctx context.Context, cl *client.Client, args []string) error {
		after, on, err := f()
		if err != nil {
			return err
		}
		if on {
			return a.follow(ctx, cl, spec.FollowOptions{Kind: kind, Object: args[0], After: after})
		}
		events, err := cl.Events(ctx, kind, args[0])
		if err != nil {
			return err
		}
		return a.print(a.eventList(events, eventFields))
	})
}

// everything is the command that lists or follows the events of all objects, or of one
// of any kind.
func (a *app) everything() *cobra.Command {
	c := &cobra.Command{
		Use:   "events [KIND OBJECT]",
		Short: "List what happened to everything; with --follow, show what happens from now on",
		Long: `List what happened to everything that is yours, as far as it is kept, or with
--follow show what happens from now on until the command is interrupted. KIND and
OBJECT choose one object: an instance, network, interface, snapshot, namespace or node.

A position, which --simple and --json show, is a place in the cloud's history. With
--after a stream goes on behind one, at another server or after months too; 0 begins
with what is kept. A stream goes on when its server is restarted.`,
		Example: `  sf-client events
  sf-client events --follow
  sf-client events instance vm1 --follow
  sf-client --json events --follow --after 1234 | jq -c .`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if _, ok := kinds[args[0]]; !ok {
				return usage("%q is not a kind of object: %s", args[0], strings.Join(kindNames(), ", "))
			}
			return exactly("KIND", "OBJECT")(c, args)
		},
		ValidArgsFunction: a.completeKind,
	}
	f := following(c, -1)
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		after, on, err := f()
		if err != nil {
			return err
		}
		opt := spec.FollowOptions{After: after}
		if len(args) > 0 {
			opt.Kind, opt.Object = spec.Kind(args[0]), args[1]
			if opt.Object, err = kinds[args[0]].called(ctx, cl, args[1]); err != nil {
				return err
			}
		}
		if on {
			return a.follow(ctx, cl, opt)
		}
		return a.past(ctx, cl, opt)
	})
}

// following gives a command the options of a stream, and returns what reads them: where
// the stream begins, and whether there is one.
func following(c *cobra.Command, start int64) func() (after int64, on bool, err error) {
	follow := c.Flags().BoolP("follow", "f", false, "go on with what happens next, until interrupted")
	after := c.Flags().Int64("after", start, "with --follow: begin behind this position; 0 is all that is kept")
	c.Flags().Lookup("after").DefValue = "0" // the help says nothing of -1
	return func() (int64, bool, error) {
		switch given := c.Flags().Changed("after"); {
		case given && !*follow:
			return 0, false, usage("--after is for --follow")
		case given && *after < 0:
			return 0, false, usage("--after is a position that was shown, not %d", *after)
		}
		return *after, *follow, nil
	}
}

// The first of the fields are those of all listings of events.
var (
	eventFields    = []string{"timestamp", "fqdn", "operation", "phase", "duration", "message"}
	anyEventFields = append(slices.Clone(eventFields), "object_type", "object_uuid")
)

func (a *app) eventList(events []*spec.Event, fields []string) *list {
	l := &list{name: "events", json: [][]any{}, fields: fields,
		columns: []string{"timestamp", "node", "operation", "phase", "duration", "message", "kind", "object"}[:len(fields)]}
	for _, e := range events {
		row := eventRow(e)[:len(fields)]
		l.json = append(l.json, row)
		l.add(append([]any{a.local(e.Time)}, row[1:]...)...)
	}
	return l
}

// eventRow are an event's values in the order of anyEventFields.
func eventRow(e *spec.Event) []any {
	row := []any{stamp(e.Time), orNone(e.Node), orNone(e.Operation), orNone(e.Phase), nil, orNone(e.Message), e.Kind, e.Object}
	if e.Duration != 0 {
		row[4] = pyFloat(e.Duration.Seconds())
	}
	return row
}

// past lists what is kept.
func (a *app) past(ctx context.Context, c *client.Client, opt spec.FollowOptions) error {
	opt.After = 0
	var events []*spec.Event
	for b, err := range c.FollowEvents(ctx, opt) {
		if err != nil {
			return err
		}
		events = append(events, b.Events...)
		if b.Position != 0 { // that was all
			break
		}
	}
	slices.SortStableFunc(events, func(x, y *spec.Event) int { return x.Time.Compare(y.Time) })
	return a.print(a.eventList(events, anyEventFields))
}
