package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

const importCommand = "import"

// importOptions are those of sfd import, beside sfd's own, which say where to.
type importOptions struct {
	from                         etcdOptions
	apply, anew, renumber, start bool
	disks                        string            // directory of the original on this host; empty for none
	nodes                        map[string]string // ours, by the original's
	help                         bool
}

// importOption is one of them.
type importOption struct {
	flag, arg, help string
	set             func(o *importOptions, value string) error
}

var importOptionTable = []importOption{
	{"from", "URL[,URL]", "members of the etcd that has the records of Shaken Fist 0.2; nothing is written there",
		func(o *importOptions, v string) (err error) { o.from.endpoints, err = etcdEndpoints(v); return }},
	{"from-cacert", "FILE", "certificates of the authority that its members have theirs from",
		fromText(func(o *importOptions) *string { return &o.from.ca }, absolute)},
	{"from-cert", "FILE", "certificate to show it", fromText(func(o *importOptions) *string { return &o.from.cert }, absolute)},
	{"from-key", "FILE", "key of that certificate", fromText(func(o *importOptions) *string { return &o.from.key }, absolute)},
	{"from-user", "NAME", "user of it", fromText(func(o *importOptions) *string { return &o.from.user }, present)},
	{"from-password-file", "FILE", "file with that user's password",
		fromText(func(o *importOptions) *string { return &o.from.passwordFile }, absolute)},

	{"apply", "", "import; without it is only told what would be, and nothing is changed", onOff(func(o *importOptions) *bool { return &o.apply })},
	{"disks", "DIR", "the original's storage on this host (its STORAGE_PATH, or a copy of that): instances whose disks are in DIR/instances " +
		"come with copies of them, to this node; others are refused",
		fromText(func(o *importOptions) *string { return &o.disks }, absolute)},
	{"without-disks", "", "import instances whose disks are not in DIR too: theirs are made anew from their images, what was on them is left behind",
		onOff(func(o *importOptions) *bool { return &o.anew })},
	{"node", "OLD=NEW", "where the instances of the original's node OLD go; may be repeated. Without it they go to this machine, or, where the " +
		"records are in etcd, to the node of the same name, else wherever there is room",
		func(o *importOptions, v string) error {
			old, fresh, ok := strings.Cut(v, "=")
			if !ok || old == "" || label(fresh) != nil {
				return errors.New("want the names of two nodes, such as sf-1=n1")
			}
			if was, twice := o.nodes[old]; twice && was != fresh {
				return fmt.Errorf("%s goes to %s already", old, was)
			}
			o.nodes[old] = fresh
			return nil
		}},
	{"renumber", "", "give another address, MAC or VXLAN ID to what cannot keep its own, instead of refusing it", onOff(func(o *importOptions) *bool { return &o.renumber })},
	{"start", "", "start instances that were on; else all stay off until they are started", onOff(func(o *importOptions) *bool { return &o.start })},
}

func fromText(field func(*importOptions) *string, check func(string) error) func(*importOptions, string) error {
	return func(o *importOptions, v string) error {
		if err := check(v); err != nil {
			return err
		}
		*field(o) = v
		return nil
	}
}

func onOff(field func(*importOptions) *bool) func(*importOptions, string) error {
	return func(o *importOptions, v string) (err error) {
		*field(o), err = boolean(v)
		return err
	}
}

// etcdAlias is another name of --from.
const etcdAlias = "etcd"

// splitImport takes the import's options out of the arguments; the rest is sfd's.
func splitImport(args []string) (o importOptions, rest []string, err error) {
	o.nodes = map[string]string{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, value, valued := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if name == etcdAlias {
			name = "from"
		}
		k := slices.IndexFunc(importOptionTable, func(t importOption) bool { return t.flag == name })
		switch {
		case arg == "--help" || arg == "-help" || arg == "-h":
			o.help = true
			continue
		case k < 0 || !strings.HasPrefix(arg, "-"):
			rest = append(rest, arg)
			continue
		case !valued && importOptionTable[k].arg == "":
			value = "true"
		case !valued && len(args) == 0:
			return o, nil, fmt.Errorf("--%s needs %s", name, importOptionTable[k].arg)
		case !valued:
			value, args = args[0], args[1:]
		}
		if err := importOptionTable[k].set(&o, value); err != nil {
			return o, nil, fmt.Errorf("invalid value %q for --%s: %w", value, name, err)
		}
	}
	if o.help {
		return o, rest, nil
	}
	return o, rest, o.check()
}

// check is about how the options fit each other.
func (o importOptions) check() error {
	switch {
	case len(o.from.endpoints) == 0:
		return errors.New("import needs the etcd of Shaken Fist 0.2: sfd import --from http://HOST:2379 (sfd import --help tells more)")
	case (o.from.cert == "") != (o.from.key == ""):
		return errors.New("--from-cert and --from-key belong together")
	case (o.from.user == "") != (o.from.passwordFile == ""):
		return errors.New("--from-user and --from-password-file belong together")
	}
	return nil
}

// importUsage prints the help of the command.
func importUsage(w io.Writer) {
	fmt.Fprint(w, `sfd import reads the records of a Shaken Fist 0.2 from its etcd and puts what can live
here into this cloud: namespaces with their keys, networks, instances with their
interfaces, addresses and metadata, all under their own UUIDs. It tells of each object
what becomes of it, and why where it cannot come. What is there already stays as it is, so
it can be repeated.

Usage: sfd import --from URL [options]            tells what would be imported
       sfd import --from URL [options] --apply    imports

Stop the original's daemons first, and sfd where its records are in a data directory.

`)
	for _, t := range importOptionTable {
		fmt.Fprintf(w, "  %s\n      %s\n", strings.TrimSpace("--"+t.flag+" "+t.arg), t.help)
	}
	fmt.Fprint(w, `
Where to is said by sfd's own options and environment: --data-dir, --node-name, --floating-network, or
--etcd-endpoints with --node-ip and the other options of etcd (sfd --help lists them). A
data directory that has no cloud yet gets one.

Each line of the answer begins with what becomes of the object: "import"; "keep" where it
is there already; "refuse" where it cannot come; "note" where something of it is left
behind. Exit status: 0 when nothing was refused, 1 when something was or failed, 2 when an
option is wrong.
`)
}

// oldNodes are the names of the original's nodes that are told about.
func (o importOptions) oldNodes() []string { return slices.Sorted(maps.Keys(o.nodes)) }
