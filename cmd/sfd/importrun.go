package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/sf/v02"
	"github.com/shakenfist/cloud/store"
)

// importer carries a plan out.
type importer struct {
	config  *config
	options importOptions
	plan    *v02.Plan
	store   store.Store
	here    string   // this node
	known   identity // of this host
	out     io.Writer
	log     *slog.Logger

	cloud    *sf.Cloud
	floating netip.Prefix // of the cloud
	nodes    []*sf.Node   // of the cloud
	count    map[string]int
}

// line tells of one object, and counts.
func (im *importer) line(what string, kind sf.Kind, id, name, text string) {
	if im.count == nil {
		im.count = map[string]int{}
	}
	im.count[what]++
	if name != "" {
		id += " " + name
	}
	if text != "" {
		id += ": " + text
	}
	fmt.Fprintf(im.out, "%-6s  %-9s  %s\n", what, kind, strings.Map(harmless, id))
}

// harmless keeps what the original's users named their things from steering a terminal.
func harmless(r rune) rune {
	if !unicode.IsPrint(r) {
		return '?'
	}
	return r
}

// remarks tells what the plan has to say of a kind.
func (im *importer) remarks(kind sf.Kind) {
	for _, r := range im.plan.Remarks {
		if what := "note"; r.Kind == kind {
			if r.Refused {
				what = "refuse"
			}
			im.line(what, kind, r.ID, r.Name, r.Text)
		}
	}
}

// run imports, each object in one transaction, and tells of each.
func (im *importer) run(ctx context.Context) (err error) {
	if im.cloud, err = im.openImported(ctx); err != nil {
		return err
	}
	defer im.cloud.Close()
	if err := im.prepare(ctx); err != nil {
		return err
	}
	for _, n := range im.plan.Namespaces {
		if err := im.namespace(ctx, n); err != nil {
			return err
		}
	}
	im.remarks(sf.KindNamespace)
	for _, n := range im.plan.Networks {
		if err := im.network(ctx, n); err != nil {
			return err
		}
	}
	im.remarks(sf.KindNetwork)
	for k := range im.plan.Instances {
		if err := im.instance(ctx, &im.plan.Instances[k]); err != nil {
			return err
		}
	}
	for _, kind := range []sf.Kind{sf.KindInstance, sf.KindInterface, sf.KindSnapshot} {
		im.remarks(kind)
	}
	fmt.Fprintf(im.out, "%d imported, %d there already, %d refused, %d notes\n", im.count["import"], im.count["keep"], im.count["refuse"], im.count["note"])
	if n := im.count["refuse"]; n > 0 {
		return fmt.Errorf("%d refused, for the reasons above", n)
	}
	return nil
}

// prepare finds out which nodes there are, and makes the directory this cloud's.
func (im *importer) prepare(ctx context.Context) (err error) {
	if im.nodes, err = im.cloud.Nodes(ctx); err != nil {
		return err
	}
	for _, old := range im.options.oldNodes() {
		fresh := im.options.nodes[old]
		if !im.config.shared() && fresh != im.here {
			return fmt.Errorf("--node %s=%s: this cloud is of one machine, %s", old, fresh, im.here)
		}
		if im.config.shared() && !im.has(fresh) {
			return fmt.Errorf("--node %s=%s: this cloud has no node %s: start sfd there first", old, fresh, fresh)
		}
	}
	if im.config.shared() && im.options.disks == "" {
		return nil
	}
	if im.known.Cloud == "" {
		if err := foreign(ctx, im.config, im.cloud); err != nil {
			return err
		}
	}
	if im.options.apply {
		return im.known.confirm(im.config, identity{Cloud: im.cloud.ID(), Node: im.here})
	}
	return nil
}

// has reports whether the cloud has a node.
func (im *importer) has(name string) bool {
	return slices.ContainsFunc(im.nodes, func(n *sf.Node) bool { return n.Name == name })
}

// judge tells of an object that could not come; what is no fault of the object's ends
// the import.
func (im *importer) judge(ctx context.Context, err error, kind sf.Kind, id, name string) error {
	var e *sf.Error
	if ctx.Err() != nil || !errors.As(err, &e) || errors.Is(err, sf.ErrUnavailable) {
		return fmt.Errorf("%s %s: %w", kind, id, err)
	}
	im.line("refuse", kind, id, name, err.Error())
	return nil
}

// The name under which a key of the original's comes that has the name of one of sfd's
// own (see deployKey), which is made anew whenever the client file is.
const oldDeploy = "deploy-0.2"

func (im *importer) namespace(ctx context.Context, n v02.Namespace) error {
	if hash, ok := n.Keys["deploy"]; ok && n.Name == sf.System {
		n.Keys = maps.Clone(n.Keys)
		delete(n.Keys, "deploy")
		n.Keys[oldDeploy] = hash
		im.line("note", sf.KindNamespace, n.Name, "", "its key deploy is called "+oldDeploy+" here: sfd has one of that name for the client file")
	}
	merged, err := im.cloud.ImportNamespace(ctx, n.Name, n.Keys, n.Metadata)
	if err != nil {
		return im.judge(ctx, err, sf.KindNamespace, n.Name, "")
	}
	switch {
	case merged.Created || len(merged.Added) > 0:
		im.line("import", sf.KindNamespace, n.Name, "", strings.Join(merged.Added, ", "))
	default:
		im.line("keep", sf.KindNamespace, n.Name, "", "")
	}
	if len(merged.Differ) > 0 {
		im.line("note", sf.KindNamespace, n.Name, "", "something else is here under these names, and stays: "+strings.Join(merged.Differ, ", "))
	}
	return nil
}

func (im *importer) network(ctx context.Context, n v02.Network) error {
	have, err := im.cloud.Network(ctx, n.UUID)
	if err == nil {
		im.there(sf.KindNetwork, n.UUID, n.Spec.Name, have.Namespace == n.Namespace && have.Netblock == n.Spec.Netblock, have.Deletion)
		return nil
	}
	if !errors.Is(err, sf.ErrNotFound) {
		return err
	}
	kept := sf.Kept{UUID: n.UUID, VNI: n.VNI, Gateway: n.Gateway, Metadata: n.Metadata}
	if !im.config.shared() {
		kept.Node = im.here
	}
	if kept.Gateway.IsValid() && !im.floating.Contains(kept.Gateway) {
		im.line("note", sf.KindNetwork, n.UUID, n.Spec.Name, im.foreign("it gets another address outside than "+kept.Gateway.String()))
		kept.Gateway = netip.Addr{}
	}
	if _, err = im.cloud.ImportNetwork(ctx, n.Namespace, n.Spec, kept); errors.Is(err, sf.ErrConflict) && im.options.renumber {
		im.line("note", sf.KindNetwork, n.UUID, n.Spec.Name, "it gets another VXLAN ID and address outside: "+err.Error())
		kept.VNI, kept.Gateway = 0, netip.Addr{}
		_, err = im.cloud.ImportNetwork(ctx, n.Namespace, n.Spec, kept)
	}
	if err != nil {
		return im.judge(ctx, err, sf.KindNetwork, n.UUID, n.Spec.Name)
	}
	im.line("import", sf.KindNetwork, n.UUID, n.Spec.Name, n.Spec.Netblock)
	return nil
}

// foreign says why an address outside is not kept.
func (im *importer) foreign(what string) string {
	return fmt.Sprintf("%s: the floating network is %s here", what, im.floating)
}

// there tells of an object whose UUID is here already: it may be that of another.
func (im *importer) there(kind sf.Kind, id, name string, same bool, deleted *spec.Deletion) {
	switch {
	case !same:
		im.line("refuse", kind, id, name, "another "+string(kind)+" has its UUID here")
	case deleted != nil:
		im.line("keep", kind, id, name, "it was deleted here")
	default:
		im.line("keep", kind, id, name, "")
	}
}

func (im *importer) instance(ctx context.Context, i *v02.Instance) error {
	name := i.Spec.Name
	have, err := im.cloud.Instance(ctx, i.UUID)
	if err == nil {
		im.there(sf.KindInstance, i.UUID, name, have.Namespace == i.Namespace && have.Name == name, have.Deletion)
		return nil
	}
	if !errors.Is(err, sf.ErrNotFound) {
		return err
	}
	kept := sf.Kept{UUID: i.UUID}
	if im.options.start {
		kept.Power = i.Power
	}
	for _, nic := range i.Interfaces {
		k := sf.KeptInterface{UUID: nic.UUID, Floating: nic.Floating}
		if k.Floating.IsValid() && !im.floating.Contains(k.Floating) {
			im.line("note", sf.KindInterface, nic.UUID, "", im.foreign("its floating address "+k.Floating.String()+" is left out"))
			k.Floating = netip.Addr{}
		}
		kept.Interfaces = append(kept.Interfaces, k)
	}
	disks, why := im.disks(i)
	if why == "" {
		kept.Node, why = im.node(i, len(disks) > 0)
	}
	if why != "" {
		im.line("refuse", sf.KindInstance, i.UUID, name, why)
		return nil
	}
	return im.create(ctx, i, kept, disks)
}

// disks are an instance's that can come along, or why it cannot come without.
func (im *importer) disks(i *v02.Instance) (disks []broughtDisk, why string) {
	where := fmt.Sprintf("they are on node %s", i.Node)
	if im.options.disks != "" && len(i.Disks) > 0 {
		disks, err := findDisks(im.options.disks, i)
		if err == nil {
			return disks, ""
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "its disks: " + err.Error()
		}
		where = fmt.Sprintf("they are not in %s, but on node %s", im.options.disks, i.Node)
	}
	if im.options.anew {
		return nil, ""
	}
	return nil, fmt.Sprintf("its disks would be left behind: %s; say --disks DIR on a host that has them, or --without-disks", where)
}

// node is where an instance goes; empty for wherever there is room.
func (im *importer) node(i *v02.Instance, disks bool) (name, why string) {
	asked := im.options.nodes[i.Node]
	switch {
	case !im.config.shared() || asked == "" && disks:
		return im.here, ""
	case disks && asked != im.here:
		return "", fmt.Sprintf("its disks are here, on node %s, and it is to go to node %s: import it there", im.here, asked)
	case asked != "":
		return asked, ""
	case im.has(i.Node):
		return i.Node, ""
	}
	return "", ""
}

// create makes an instance with its disks, which are there before anybody may look
// for them.
func (im *importer) create(ctx context.Context, i *v02.Instance, kept sf.Kept, disks []broughtDisk) error {
	if err := im.bring(ctx, i, disks); err != nil {
		if ctx.Err() != nil {
			return err
		}
		im.line("refuse", sf.KindInstance, i.UUID, i.Spec.Name, "its disks: "+err.Error())
		return nil
	}
	for _, d := range disks {
		kept.Brought = append(kept.Brought, d.Index)
	}
	want := i.Spec
	made, err := im.cloud.ImportInstance(ctx, i.Namespace, want, kept)
	if errors.Is(err, sf.ErrConflict) && im.options.renumber {
		im.line("note", sf.KindInstance, i.UUID, want.Name, "it gets other addresses and MACs, and no floating address: "+err.Error())
		want.Interfaces = slices.Clone(want.Interfaces)
		for k := range want.Interfaces {
			want.Interfaces[k].Address, want.Interfaces[k].MAC = "", ""
			kept.Interfaces[k].Floating = netip.Addr{}
		}
		made, err = im.cloud.ImportInstance(ctx, i.Namespace, want, kept)
	}
	if err != nil {
		// Where it is not known whether it was made, its disks have to stay.
		err = im.judge(ctx, err, sf.KindInstance, i.UUID, i.Spec.Name)
		if err == nil && len(disks) > 0 && im.options.apply {
			err = dropDisks(im.config, i.UUID)
		}
		return err
	}
	im.line("import", sf.KindInstance, i.UUID, i.Spec.Name, arrival(i, made, len(disks)))
	return nil
}

// bring copies disks; where nothing is to be changed it only looks at them.
func (im *importer) bring(ctx context.Context, i *v02.Instance, disks []broughtDisk) error {
	if len(disks) == 0 {
		return nil
	}
	err := written(disks)
	if err == nil && im.options.apply {
		im.log.Info("copying disks", "instance", i.UUID, "name", i.Spec.Name, "disks", len(disks))
		err = bringDisks(ctx, im.config, i.UUID, disks)
	}
	if err != nil && !im.options.apply {
		im.line("note", sf.KindInstance, i.UUID, i.Spec.Name, err.Error())
		return nil
	}
	return err
}

// arrival says how an instance arrives.
func arrival(i *v02.Instance, made *sf.Instance, disks int) string {
	text := "on node " + made.Node + ", "
	switch was := len(i.Spec.Disks); disks {
	case was:
		text += "with its disks"
	case 0:
		text += "its disks made anew"
	default:
		text += fmt.Sprintf("with %d of its %d disks, the others made anew", disks, was)
	}
	return text + ", " + string(made.Power.Want)
}
