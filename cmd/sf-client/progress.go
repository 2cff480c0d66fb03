package main

import (
	"context"
	"fmt"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// status is the one line on a terminal that says what is being waited for. It
// shows nothing where nobody looks.
type status struct {
	a    *app
	last string
}

func (s *status) say(state spec.State, w *spec.Wait) {
	text := string(state)
	if w != nil && w.Reason != "" {
		text += ": " + waiting(w)
	}
	s.show(text)
}

func (s *status) show(text string) {
	if !s.a.progress || text == s.last {
		return
	}
	s.last = text
	fmt.Fprintf(s.a.errOut, "\r\x1b[K%s", text)
}

// clear wipes the line.
func (s *status) clear() {
	if s.last != "" {
		fmt.Fprint(s.a.errOut, "\r\x1b[K")
	}
}

// waitInstance waits for a condition and shows what it waits for.
func (a *app) waitInstance(ctx context.Context, c *client.Client, id string, cond func(*spec.Instance) (bool, error)) error {
	line := &status{a: a}
	defer line.clear()
	_, err := c.WaitInstance(ctx, id, func(i *spec.Instance) (bool, error) {
		line.say(i.Status.State, i.Status.Wait)
		return cond(i)
	})
	return err
}

// waitNetwork is waitInstance for networks.
func (a *app) waitNetwork(ctx context.Context, c *client.Client, id string, cond func(*spec.Network) (bool, error)) error {
	line := &status{a: a}
	defer line.clear()
	_, err := c.WaitNetwork(ctx, id, func(n *spec.Network) (bool, error) {
		line.say(n.Status.State, n.Status.Wait)
		return cond(n)
	})
	return err
}
