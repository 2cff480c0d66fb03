package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// envPrefix of the names that options have in the environment.
const envPrefix = "SHAKENFIST_"

// option is one thing that can be configured. The flag wins over the variable.
type option struct {
	flag string // without dashes; empty where a command line is no place for the value
	env  string // without envPrefix; empty for what is no lasting setting
	arg  string // what stands for the value in the help, with its unit; empty for a switch
	def  string // the default, as it would be written
	help string
	set  func(c *config, value string) error
}

// dead are options of the seed that nothing here corresponds to, and why. They
// are harmless, so they are ignored aloud.
var dead = map[string]string{
	"INCLUDE_TRACEBACKS":      "errors carry a sentence, never a traceback",
	"SCHEDULER_CACHE_TIMEOUT": "the scheduler works on current records and caches nothing",
}

// theClients are sf-client's variables, which mean nothing here.
var theClients = []string{"NAMESPACE", "KEY", "API_URL", "API_FINGERPRINT"}

// parse reads the daemon's command line (without the program's name) and an
// environment as os.Environ gives it.
func parse(args, environ []string) (*config, error) {
	c, _, err := parseCommand(&command{}, args, environ)
	return c, err
}

// parseCommand reads a command's options, and its arguments anywhere among them.
func parseCommand(cmd *command, args, environ []string) (c *config, given []string, err error) {
	c = defaults()
	if err := parseEnvironment(c, environ); err != nil {
		return nil, nil, err
	}
	set := flagsOf(c, slices.Concat(cmd.options, options))
	for rest := args; ; given, rest = append(given, set.Arg(0)), set.Args()[1:] {
		switch err := set.Parse(rest); {
		case errors.Is(err, flag.ErrHelp):
			c.help = true
			return c, nil, nil
		case err != nil:
			text := strings.NewReplacer("for flag -", "for --", "not defined: -", "not defined: --").Replace(err.Error())
			return nil, nil, fmt.Errorf("%s (sfd --help lists the options)", text)
		}
		if set.NArg() == 0 {
			break
		}
	}
	if c.version {
		return c, nil, nil
	}
	if given, err = cmd.take(given); err != nil {
		return nil, nil, err
	}
	if cmd.check != nil {
		if err := cmd.check(c); err != nil {
			return nil, nil, err
		}
	}
	return c, given, c.check()
}

// flagsOf has options write into c.
func flagsOf(c *config, options []option) *flag.FlagSet {
	set := flag.NewFlagSet("sfd", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	for _, o := range options {
		switch {
		case o.flag == "":
		case o.arg == "":
			set.BoolFunc(o.flag, "", func(v string) error { return o.set(c, v) })
		default:
			set.Func(o.flag, "", func(v string) error { return o.set(c, v) })
		}
	}
	return set
}

func parseEnvironment(c *config, environ []string) error {
	var unknown []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		name, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(theClients, name) {
			continue
		}
		i := slices.IndexFunc(options, func(o option) bool { return o.env == name })
		switch why, isDead := dead[name]; {
		case i >= 0 && value != "": // empty is unset, as systemd's Environment= leaves it
			if err := options[i].set(c, value); err != nil {
				return fmt.Errorf("invalid value %q for %s%s: %w", value, envPrefix, name, err)
			}
		case i >= 0:
		case isDead:
			c.warnings = append(c.warnings, fmt.Sprintf("%s%s is ignored: %s", envPrefix, name, why))
		default:
			unknown = append(unknown, envPrefix+name)
		}
	}
	slices.Sort(c.warnings)
	if len(unknown) > 0 {
		slices.Sort(unknown)
		c.warnings = append(c.warnings, "unknown options in the environment are ignored: "+strings.Join(unknown, ", "))
	}
	return nil
}

// usage prints the help.
func usage(w io.Writer) {
	fmt.Fprint(w, `sfd runs a cloud of this one machine: virtual machines, networks, and the API. It
needs no configuration, and root. With --etcd-endpoints and --node-ip it runs one
machine of several.

Usage: sfd [options]
       sfd COMMAND [options]

Commands; sfd COMMAND --help tells more:

`)
	for _, cmd := range commands() {
		if cmd.does != "" {
			fmt.Fprintf(w, "  %-28s %s\n", strings.Join(append([]string{cmd.name}, cmd.args...), " "), cmd.does)
		}
	}
	fmt.Fprint(w, "\nOptions, the same in the environment, and their defaults:\n\n")
	printOptions(w, options)
	fmt.Fprint(w, `
A flag wins over the environment. Signals: TERM and INT stop sfd, its machines
run on and are found again by the next one; HUP reads the API's certificate again. Exit status: 0 after a stop, 1 when
something failed, 2 when the command line is wrong.
`)
}

func printOptions(w io.Writer, options []option) {
	for _, o := range options {
		names := make([]string, 0, 2)
		if o.flag != "" {
			names = append(names, strings.TrimSpace("--"+o.flag+" "+o.arg))
		}
		if o.env != "" {
			names = append(names, envPrefix+o.env)
		}
		fmt.Fprintf(w, "  %s\n      %s", strings.Join(names, ", "), o.help)
		if o.def != "" {
			fmt.Fprintf(w, " (default %s)", o.def)
		}
		fmt.Fprintln(w)
	}
}
