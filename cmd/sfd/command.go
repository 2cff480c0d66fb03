package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// command is something that sfd does instead of running the cloud.
type command struct {
	name    string              // one word or two
	args    []string            // what has to follow; "[NAME]" may be left out
	does    string              // in a line, for the help; empty hides it
	more    string              // what else its own help says, in lines
	options []option            // of its own, beside sfd's
	check   func(*config) error // how the options fit each other; may be nil
	run     func(ctx context.Context, c *config, call *call) error
}

// call is a command as it was called.
type call struct {
	args   []string // as many as the command has; "" for what was left out
	stdout io.Writer
	log    *slog.Logger
}

// arg is the i-th argument, or def where it was left out.
func (c *call) arg(i int, def string) string {
	if c.args[i] == "" {
		return def
	}
	return c.args[i]
}

// commands in the order of the help. A function, for the help of a command is one.
func commands() []*command {
	return slices.Concat(recordCommands, importCommands, keyCommands, doctorCommands, []*command{{name: guardCommand, run: logged(stand)}})
}

type action = func(context.Context, *config, *slog.Logger) error

// logged is an action without arguments as what a command runs.
func logged(act action) func(context.Context, *config, *call) error {
	return func(ctx context.Context, c *config, call *call) error { return act(ctx, c, call.log) }
}

// findCommand returns the command that args begin with, and what is left of them:
// the one that runs the cloud where they begin with an option, or with nothing.
func findCommand(args []string) (*command, []string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return &command{run: logged(runHost)}, args, nil
	}
	var next []string // words that could have followed
	for _, cmd := range commands() {
		words := strings.Fields(cmd.name)
		switch {
		case args[0] != words[0]:
		case len(words) == 1:
			return cmd, args[1:], nil
		case len(args) > 1 && args[1] == words[1]:
			return cmd, args[2:], nil
		default:
			next = append(next, words[1])
		}
	}
	switch {
	case len(next) > 0 && len(args) > 1 && isHelp(args[1]):
		return &command{name: args[0]}, args[1:], nil
	case len(next) > 0:
		return nil, nil, fmt.Errorf("%s what? say sfd %s %s (sfd %s --help tells more)", args[0], args[0], strings.Join(next, ", or "), args[0])
	}
	return nil, nil, fmt.Errorf("%q is no command, and options begin with -- (sfd --help lists both)", args[0])
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// take sorts arguments into those that the command has.
func (cmd *command) take(given []string) ([]string, error) {
	if len(given) > len(cmd.args) {
		return nil, fmt.Errorf("unexpected argument %q: %s", given[len(cmd.args)], cmd.hint())
	}
	args := make([]string, len(cmd.args))
	for i, name := range cmd.args {
		switch {
		case i < len(given) && given[i] != "":
			args[i] = given[i]
		case !strings.HasPrefix(name, "["):
			return nil, fmt.Errorf("%s needs %s: %s", cmd.name, name, cmd.hint())
		}
	}
	return args, nil
}

// hint is what an error says of how it is right.
func (cmd *command) hint() string {
	if cmd.name == "" {
		return "options begin with -- (sfd --help lists them)"
	}
	return "sfd " + cmd.usage() + " (sfd " + cmd.name + " --help tells more)"
}

func (cmd *command) usage() string {
	return strings.Join(append([]string{cmd.name}, append(slices.Clone(cmd.args), "[options]")...), " ")
}

// help prints what a command does, or all whose first word it is.
func (cmd *command) help(w io.Writer) {
	if cmd.name == "" {
		usage(w)
		return
	}
	first := true
	for _, c := range commands() {
		if c.name != cmd.name && !strings.HasPrefix(c.name, cmd.name+" ") {
			continue
		}
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		fmt.Fprintf(w, "sfd %s\n\n%s: %s.\n", c.usage(), c.name, c.does)
		if c.more != "" {
			fmt.Fprintf(w, "\n%s\n", c.more)
		}
		if len(c.options) > 0 {
			fmt.Fprint(w, "\nOptions of its own:\n\n")
			printOptions(w, c.options)
		}
	}
	fmt.Fprint(w, "\nThe other options are the daemon's (sfd --help), in the environment too: they say which\ncloud is meant.\n")
}
