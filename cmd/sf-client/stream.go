package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// follow prints events as they come, a line each, until it is interrupted.
func (a *app) follow(ctx context.Context, c *client.Client, opt spec.FollowOptions) error {
	if a.format == simple {
		fmt.Fprintln(a.out, "timestamp,node,operation,phase,duration,message,kind,object,position")
	}
	last := opt.After
	for b, err := range c.FollowEvents(ctx, opt) {
		if interrupted(ctx, err) {
			if a.progress && last > 0 {
				fmt.Fprintf(a.errOut, "\nTo go on from here: --follow --after %d\n", last)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if b.Gap {
			fmt.Fprintln(a.errOut, "More has happened since than is kept: events may be missing here.")
		}
		for i, e := range b.Events {
			var at any // only the last one of a commit is a place to go on from
			if i == len(b.Events)-1 && b.Position != 0 {
				at = b.Position
			}
			if err := a.eventLine(e, at); err != nil {
				return err
			}
		}
		if b.Position != 0 {
			last = b.Position
		}
	}
	return nil
}

// eventLine prints one event.
func (a *app) eventLine(e *spec.Event, at any) error {
	row := append(eventRow(e), at)
	switch a.format {
	case asJSON:
		o := object{"position": at}
		for i, name := range anyEventFields {
			o[name] = row[i]
		}
		text, err := pyJSON(o, "")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, text)
		return err
	case simple:
		_, err := fmt.Fprintln(a.out, commas(append([]any{a.local(e.Time)}, row[1:]...)...))
		return err
	}
	words := []string{string(e.Kind), e.Object}
	for _, word := range row[2:6] {
		if word != nil {
			words = append(words, show(word))
		}
	}
	_, err := fmt.Fprintf(a.out, "%-26s %s %s\n", a.local(e.Time), show(row[1]), strings.Join(words, " "))
	return err
}

// interrupted reports whether somebody pressed Ctrl-C, which is how a stream is meant
// to end.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}
