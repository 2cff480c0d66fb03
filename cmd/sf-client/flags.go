package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// format is how things are printed.
type format int

const (
	pretty format = iota
	simple
	asJSON
)

// formatFlag chooses a format; the last one counts, so that an alias of the command can be overruled.
type formatFlag struct {
	a     *app
	value format
}

func (f formatFlag) String() string   { return "false" }
func (f formatFlag) Type() string     { return "bool" }
func (f formatFlag) IsBoolFlag() bool { return true }

func (f formatFlag) Set(s string) error {
	on, err := strconv.ParseBool(s)
	if on {
		f.a.format = f.value
	}
	return err
}

// switchFlag is one half of a pair like --dhcp and --no-dhcp.
type switchFlag struct {
	to *bool
	on bool
}

func (f switchFlag) String() string   { return strconv.FormatBool(f.to != nil && *f.to == f.on) }
func (f switchFlag) Type() string     { return "bool" }
func (f switchFlag) IsBoolFlag() bool { return true }

func (f switchFlag) Set(s string) error {
	on, err := strconv.ParseBool(s)
	*f.to = on == f.on
	return err
}

// onOff defines --name and --no-name.
func onOff(flags *pflag.FlagSet, to *bool, name string, initially bool, usage string) {
	*to = initially
	if initially {
		usage += " (the default)"
	}
	for _, f := range []*pflag.Flag{
		flags.VarPF(switchFlag{to, true}, name, "", usage),
		flags.VarPF(switchFlag{to, false}, "no-"+name, "", "the opposite of --"+name),
	} {
		f.NoOptDefVal, f.DefValue = "true", "false" // the help would speak of defaults that are true
	}
}

// repeated collects the values of an option that can be given again and again.
// Unlike pflag's slices it takes commas as they are.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, " ") }
func (r *repeated) Type() string       { return "SPEC" }
func (r *repeated) Set(s string) error { *r = append(*r, s); return nil }

var yes, no = []string{"true", "1", "yes", "t", "y"}, []string{"false", "0", "no", "f", "n"}

// truth parses the optional boolean argument of lists, ALL.
func truth(args []string, index int) (bool, error) {
	if index >= len(args) {
		return false, nil
	}
	word := strings.ToLower(args[index])
	switch {
	case slices.Contains(yes, word):
		return true, nil
	case slices.Contains(no, word):
		return false, nil
	}
	return false, usage("%q is not a yes or no", args[index])
}

// exactly checks the number of arguments by name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("missing argument %s", names[len(args)])
		case len(args) > len(names):
			return usage("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// optionally allows one argument more.
func optionally(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names)+1 {
			args = args[:len(names)]
		}
		return exactly(names...)(cmd, args)
	}
}
