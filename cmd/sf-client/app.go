package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	colour      bool           // of what is printed for people on out
	finder      client.Finder  // of credentials
	zone        *time.Location // of the times that are shown; nil is the machine's
	sleep       func(ctx context.Context, d time.Duration) error

	format  format
	verbose bool
	piping  bool // what is printed is the content of a file
	given   client.Config
	as      string // the namespace that was found
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
	fmt.Fprintf(a.errOut, "Usage: %s\nError: %s\nTry '%s --help'.\n", cmd.UseLine(), sentence(err), cmd.CommandPath())
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
says which cloud to talk to; otherwise --apiurl or SHAKENFIST_API_URL do, and where
the server signed its certificate itself, --fingerprint or SHAKENFIST_API_FINGERPRINT
say which that is (a file: its member fingerprint).

Where a command takes an instance or a network, its UUID will do, and its name where
only one has it.

What went wrong is printed on standard output, as scripts for Shaken Fist expect.
The exit status is 0 for success, 1 where the cloud could not be reached or said
no, and 2 where the command line is wrong.`,
		Example: `  sf-client network create 10.0.0.0/24 mynet
  sf-client instance create vm1 1 1024 -d 8@cirros -n mynet
  sf-client instance wait vm1 --for login
  sf-client instance console vm1
  sf-client --json instance list
  sf-client events --follow`,
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
		flags.VarPF(formatFlag{a, f.to}, f.name, "", f.usage).NoOptDefVal = "true"
	}
	onOff(flags, &a.verbose, "verbose", false, "say on standard error which requests are made")
	flags.StringVar(&a.given.Namespace, "namespace", "", "namespace to act as [$SHAKENFIST_NAMESPACE]")
	flags.StringVar(&a.given.Key, "key", "", "one of the namespace's keys [$SHAKENFIST_KEY]")
	flags.StringVar(&a.given.URL, "apiurl", "", "the cloud to talk to [$SHAKENFIST_API_URL] (default "+client.DefaultURL+")")
	flags.StringVar(&a.given.Fingerprint, "fingerprint", "", "SHA-256 of the server's key or certificate, to trust no other [$SHAKENFIST_API_FINGERPRINT]")
	root.RegisterFlagCompletionFunc("namespace", a.completeOption(namespaceNoun))
	root.AddCommand(a.nodes(), a.namespaces(), a.networks(), a.instances(), a.interfaces(), a.snapshots(), a.images(), a.everything())
	root.Args, root.RunE = cobra.ArbitraryArgs, helpOrUnknown
	return root
}
