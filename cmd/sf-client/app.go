package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// app is one run of the command.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	progress    bool           // show on errOut what a command waits for
	finder      client.Finder  // of credentials
	zone        *time.Location // of the times that are shown; nil is the machine's
	sleep       func(ctx context.Context, d time.Duration) error

	format  format
	verbose bool
	piping  bool // what is printed is the content of a file
	given   client.Config
}

// usageError is what is wrong with a command line.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// runError is what a command that was understood failed with.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// run runs a command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	wrong := usageError{}
	failed := runError{}
	if errors.As(err, &failed) && !errors.As(err, &wrong) {
		a.complain(failed.error)
		return exitFailed
	}
	fmt.Fprintf(a.errOut, "Usage: %s\nError: %v\nTry '%s --help'.\n", cmd.UseLine(), err, cmd.CommandPath())
	return exitUsage
}

// root returns the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sf-client",
		Short: "Talk to a Shaken Fist cloud",
		Long: `Talk to a Shaken Fist cloud.

Who you are comes from --namespace and --key, or from SHAKENFIST_NAMESPACE and
SHAKENFIST_KEY, or else from the file ~/.shakenfist or /etc/sf/shakenfist.json, a
JSON object with the members namespace, key and apiurl. A file that is used also
says which cloud to talk to; otherwise --apiurl or SHAKENFIST_API_URL do.

What went wrong is printed on standard output, as scripts for Shaken Fist expect.
The exit status is 0 for success, 1 where the cloud could not be reached or said
no, and 2 where the command line is wrong.`,
		Example: `  sf-client network create 10.0.0.0/24 mynet
  sf-client instance create vm1 1 1024 -d 8@cirros -n NETWORK_UUID
  sf-client instance wait UUID --for login
  sf-client instance console UUID
  sf-client --json instance list`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// What stands before a command belongs to the command above it: --namespace
		// means something else after some of them.
		TraverseChildren: true,
		Args:             cobra.NoArgs,
	}
	flags := root.PersistentFlags()
	for _, f := range []struct {
		name  string
		to    format
		usage string
	}{
		{"pretty", pretty, "print for people (the default)"},
		{"simple", simple, "print for shell scripts"},
		{"json", asJSON, "print JSON"},
	} {
		flags.VarPF(formatFlag{&a.format, f.to}, f.name, "", f.usage).NoOptDefVal = "true"
	}
	onOff(flags, &a.verbose, "verbose", false, "say on standard error which requests are made")
	flags.StringVar(&a.given.Namespace, "namespace", "", "namespace to act as [$SHAKENFIST_NAMESPACE]")
	flags.StringVar(&a.given.Key, "key", "", "one of the namespace's keys [$SHAKENFIST_KEY]")
	flags.StringVar(&a.given.URL, "apiurl", "", "the cloud to talk to [$SHAKENFIST_API_URL] (default "+client.DefaultURL+")")
	root.AddCommand(a.nodes(), a.namespaces(), a.networks(), a.instances(), a.interfaces(), a.snapshots(), a.images())
	root.Args, root.RunE = cobra.ArbitraryArgs, helpOrUnknown
	return root
}

// group returns a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: helpOrUnknown}
	c.AddCommand(below...)
	return c
}

// offers makes the shell complete the UUIDs that commands of a group take.
func (a *app) offers(group *cobra.Command, list func(ctx context.Context, c *client.Client) ([]string, error)) *cobra.Command {
	return a.completes(group, " UUID", list)
}

// completes makes the shell complete the first argument of the commands of a group
// that take what.
func (a *app) completes(group *cobra.Command, what string, list func(ctx context.Context, c *client.Client) ([]string, error)) *cobra.Command {
	for _, c := range group.Commands() {
		if !strings.Contains(c.Use, what) {
			continue
		}
		c.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			cl, err := a.connect()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			ids, err := list(cmd.Context(), cl)
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return group
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
	return c
}

// connect finds the credentials and returns a client.
func (a *app) connect() (*client.Client, error) {
	cfg, err := a.finder.Find(a.given)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = "Mozilla/5.0 Shaken Fist/sf-client"
	cfg.Sleep = a.sleep
	if a.verbose {
		cfg.HTTP = &http.Client{Transport: chatty{a.errOut}}
	}
	return client.New(cfg)
}

// chatty makes requests and says which. It knows nothing of their bodies, where
// the secrets are.
type chatty struct{ to io.Writer }

func (c chatty) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	w, err := http.DefaultTransport.RoundTrip(r)
	outcome := "no answer"
	if err == nil {
		outcome = w.Status
	}
	fmt.Fprintf(c.to, "%s %s: %s in %v\n", r.Method, r.URL, outcome, time.Since(start).Round(time.Millisecond))
	return w, err
}
