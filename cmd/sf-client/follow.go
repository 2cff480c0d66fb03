package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

func (a *app) consoleData() *cobra.Command {
	c := &cobra.Command{
		Use:   "consoledata INSTANCE [LENGTH]",
		Short: "Print the end of the console log, 10240 bytes of it",
		Long: `Print the end of the console log, 10240 bytes of it unless LENGTH says otherwise.

With --follow, print what is written from then on too, until the instance stops or
the command is interrupted.`,
		Example: "  sf-client instance consoledata vm1 1000000\n  sf-client instance consoledata vm1 --follow",
		Args:    optionally("INSTANCE"),
	}
	follow := c.Flags().BoolP("follow", "f", false, "go on with what is written next")
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		length := int64(10240)
		if len(args) > 1 {
			var err error
			if length, err = strconv.ParseInt(args[1], 10, 64); err != nil {
				return usage("LENGTH is a number of bytes, not %q", args[1])
			}
		}
		if *follow {
			return a.followConsole(ctx, cl, args[0], length)
		}
		log, err := cl.ConsoleLog(ctx, args[0], length)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, string(log))
		return err
	})
}

// followConsole prints the end of the log and what comes after it. The console is
// opened first, so that nothing is missed in between; what came over it before the
// log was read is in the log already, and printed once.
func (a *app) followConsole(ctx context.Context, c *client.Client, id string, length int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	console, err := c.Console(ctx, id)
	if errors.Is(err, spec.ErrConflict) { // it is not running: there is nothing to follow
		log, err := c.ConsoleLog(ctx, id, length)
		a.out.Write(log)
		return err
	}
	if err != nil {
		return err
	}
	defer console.Close()
	held := &holder{to: a.out}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(held, console)
		ended <- err
	}()
	log, err := c.ConsoleLog(ctx, id, length)
	if err != nil {
		return err
	}
	if err := held.release(log); err != nil {
		return err
	}
	return <-ended
}

// holder keeps what is written until it is released.
type holder struct {
	to io.Writer

	mu       sync.Mutex
	released bool
	held     []byte
}

func (h *holder) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return h.to.Write(p)
	}
	h.held = append(h.held, p...)
	return len(p), nil
}

// release writes before, and what was held without what before ends with; what is
// written from now on goes through.
func (h *holder) release(before []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	_, err := h.to.Write(append(before, h.held[overlap(before, h.held):]...))
	h.held = nil
	return err
}

// overlap is how many bytes at the beginning of b are at the end of a.
func overlap(a, b []byte) int {
	for n := min(len(a), len(b)); n > 0; n-- {
		if bytes.HasSuffix(a, b[:n]) {
			return n
		}
	}
	return 0
}
