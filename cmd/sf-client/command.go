package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
)

// group returns a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: helpOrUnknown}
	c.AddCommand(below...)
	return c
}

// helpOrUnknown is what a group does itself.
func helpOrUnknown(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("no such command: %s", args[0])
	}
	return c.Help()
}

// action is what a command does once its command line has been understood.
type action func(ctx context.Context, c *client.Client, args []string) error

// does makes a command run an action with a client.
func (a *app) does(c *cobra.Command, do action) *cobra.Command {
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := a.connect()
		if err == nil {
			err = do(cmd.Context(), cl, args)
		}
		if err != nil {
			return runError{err}
		}
		return nil
	}
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	return c
}

// on makes a command run an action on one object, its first argument. The action gets
// what identifies it to the cloud, whatever it was called.
func (a *app) on(n noun, c *cobra.Command, do action) *cobra.Command {
	c.ValidArgsFunction = a.completeFirst(n)
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		id, err := n.called(ctx, cl, args[0])
		if err != nil {
			return err
		}
		return do(ctx, cl, append([]string{id}, args[1:]...))
	})
}

// connect finds the credentials and returns a client.
func (a *app) connect() (*client.Client, error) {
	cfg, err := a.finder.Find(a.given)
	if err != nil {
		return nil, err
	}
	a.as = cfg.Namespace
	cfg.UserAgent = "Mozilla/5.0 Shaken Fist/sf-client"
	cfg.Sleep = a.sleep
	if a.verbose {
		cfg.Around = func(way http.RoundTripper) http.RoundTripper { return chatty{way, a.errOut} }
	}
	return client.New(cfg)
}

// chatty makes requests and says which. It knows nothing of their bodies, where
// the secrets are.
type chatty struct {
	by http.RoundTripper
	to io.Writer
}

func (c chatty) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	w, err := c.by.RoundTrip(r)
	outcome := "no answer"
	if err == nil {
		outcome = w.Status
	}
	fmt.Fprintf(c.to, "%s %s: %s in %v\n", r.Method, r.URL, outcome, time.Since(start).Round(time.Millisecond))
	return w, err
}
