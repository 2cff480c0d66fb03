package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// importOptions are those of sfd import, beside sfd's own, which say where to.
type importOptions struct {
	from                         etcdOptions
	apply, anew, renumber, start bool
	disks                        string            // directory of the original on this host; empty for none
	nodes                        map[string]string // ours, by the original's
}

var importCommands = []*command{{
	name: "import", does: "brings the namespaces, networks, instances and disks of a Shaken Fist 0.2 over",
	more: importHelp, options: importOptionTable,
	check: func(c *config) error { return c.old.check() },
	run:   runImport,
}}

// importHelp is what else the command's help says.
const importHelp = `It reads the records of a Shaken Fist 0.2 from its etcd and puts what can live here into
this cloud, all under their own UUIDs. It tells of each object what becomes of it, and why
where it cannot come. What is there already stays as it is, so it can be repeated.

    sfd import --from URL [options]            tells what would be imported
    sfd import --from URL [options] --apply    imports

Stop the original's daemons first, and sfd where its records are in a data directory. A
data directory that has no cloud yet gets one.

Each line of the answer begins with what becomes of the object: "import"; "keep" where it
is there already; "refuse" where it cannot come; "note" where something of it is left
behind. Exit status: 0 when nothing was refused, 1 when something was or failed, 2 when an
option is wrong.`

var importOptionTable = []option{
	{"from", "", "URL[,URL]", "", "members of the etcd that has the records of Shaken Fist 0.2; nothing is written there",
		oldEtcd},
	{"etcd", "", "URL[,URL]", "", "another name of --from", oldEtcd},
	{"from-cacert", "", "FILE", "", "certificates of the authority that its members have theirs from",
		text(func(c *config) *string { return &c.old.from.ca }, absolute)},
	{"from-cert", "", "FILE", "", "certificate to show it", text(func(c *config) *string { return &c.old.from.cert }, absolute)},
	{"from-key", "", "FILE", "", "key of that certificate", text(func(c *config) *string { return &c.old.from.key }, absolute)},
	{"from-user", "", "NAME", "", "user of it", text(func(c *config) *string { return &c.old.from.user }, present)},
	{"from-password-file", "", "FILE", "", "file with that user's password",
		text(func(c *config) *string { return &c.old.from.passwordFile }, absolute)},

	{"apply", "", "", "", "import; without it is only told what would be, and nothing is changed", onOff(func(c *config) *bool { return &c.old.apply })},
	{"disks", "", "DIR", "", "the original's storage on this host (its STORAGE_PATH, or a copy of that): instances whose disks are in DIR/instances " +
		"come with copies of them, to this node; others are refused",
		text(func(c *config) *string { return &c.old.disks }, absolute)},
	{"without-disks", "", "", "", "import instances whose disks are not in DIR too: theirs are made anew from their images, what was on them is left behind",
		onOff(func(c *config) *bool { return &c.old.anew })},
	{"node", "", "OLD=NEW", "", "where the instances of the original's node OLD go; may be repeated. Without it they go to this machine, or, where the " +
		"records are in etcd, to the node of the same name, else wherever there is room",
		func(c *config, v string) error {
			old, fresh, ok := strings.Cut(v, "=")
			if !ok || old == "" || label(fresh) != nil {
				return errors.New("want the names of two nodes, such as sf-1=n1")
			}
			if was, twice := c.old.nodes[old]; twice && was != fresh {
				return fmt.Errorf("%s goes to %s already", old, was)
			}
			if c.old.nodes == nil {
				c.old.nodes = map[string]string{}
			}
			c.old.nodes[old] = fresh
			return nil
		}},
	{"renumber", "", "", "", "give another address, MAC or VXLAN ID to what cannot keep its own, instead of refusing it", onOff(func(c *config) *bool { return &c.old.renumber })},
	{"start", "", "", "", "start instances that were on; else all stay off until they are started", onOff(func(c *config) *bool { return &c.old.start })},
}

func oldEtcd(c *config, v string) (err error) {
	c.old.from.endpoints, err = etcdEndpoints(v)
	return err
}

func onOff(field func(*config) *bool) func(*config, string) error {
	return func(c *config, v string) (err error) {
		*field(c), err = boolean(v)
		return err
	}
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

// oldNodes are the names of the original's nodes that are told about.
func (o importOptions) oldNodes() []string { return slices.Sorted(maps.Keys(o.nodes)) }
