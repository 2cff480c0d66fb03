//go:build linux

package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

var _ netfab.Inventor = (*Fabric)(nil)

// Names that fabrics give, whatever their tag.
var (
	namespaceNames = regexp.MustCompile(`^sf-[0-9a-f]{6}-[0-9a-f]{6}$`)
	deviceNames    = regexp.MustCompile(`^(sfo-[0-9a-f]{6}|sfv[0-9a-f]{6}([0-9a-f]{6}|mesh))$`)
	tableNames     = regexp.MustCompile(`^sf-[0-9a-f]{6}$`)
)

// Inventory lists what is on the host of all fabrics. What is of a tag is removed
// by a fabric of that tag which applies nothing; what carries no tag, by hand.
func (f *Fabric) Inventory(ctx context.Context) ([]netfab.Owned, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a, err := f.begin(netfab.Underlay{})
	if err != nil {
		return nil, err
	}
	defer a.close()
	return a.inventory()
}

func (a *apply) inventory() ([]netfab.Owned, error) {
	var all []netfab.Owned
	for _, list := range []func() ([]netfab.Owned, error){a.ownedNames, a.ownedDevices, a.ownedTables} {
		some, err := list()
		if err != nil {
			return nil, fmt.Errorf("inventory of the host's networking: %w", err)
		}
		for _, o := range some {
			o.Part = partOf(o)
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b netfab.Owned) int {
		return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// partOf tells what a fabric of a thing's tag would have it for.
func partOf(o netfab.Owned) netfab.Part {
	if o.Tag == "" {
		return ""
	}
	n := newNames(o.Tag)
	_, namespace := n.vni(o.Name)
	_, leg := n.uplinkVNI(o.Name)
	switch {
	case (o.Kind == "namespace" || o.Kind == "name") && namespace && o.Network != "":
		return netfab.PartNetwork
	case o.Kind == "device" && leg && o.Network != "":
		return netfab.PartRouter
	case o.Kind == "device" && o.Name == n.outside(), o.Kind == "table" && o.Name == "inet "+n.table(), o.Kind == "rules in":
		return netfab.PartOutside
	case o.Kind == "table" && strings.HasSuffix(o.Name, " "+n.table()):
		return netfab.PartFence
	case o.Kind == "device" && o.Name == n.sharedMesh():
		return netfab.PartShared
	}
	return ""
}

// ownedNames lists namespaces, and names without one.
func (a *apply) ownedNames() ([]netfab.Owned, error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []netfab.Owned
	for _, e := range entries {
		if !namespaceNames.MatchString(e.Name()) {
			continue
		}
		path := filepath.Join(a.dir, e.Name())
		if !netns.Named(path) {
			note, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			o := ownedBy(strings.TrimSpace(string(note)))
			o.Kind, o.Name, o.Why = "name", e.Name(), "a name without a namespace, left by a crash"
			all = append(all, o)
			continue
		}
		lo, err := loopback(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		o := ownedBy(lo.Alias)
		o.Kind, o.Name, o.Why = "namespace", e.Name(), why(o, "alias of its loopback device", lo.Alias)
		all = append(all, o)
	}
	return all, nil
}

func loopback(path string) (rt.Link, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return rt.Link{}, err
	}
	defer ns.Close()
	conn, err := rt.Dial(ns.Fd())
	if err != nil {
		return rt.Link{}, err
	}
	defer conn.Close()
	return conn.Link("lo")
}

// ownedDevices lists devices of the host's own namespace.
func (a *apply) ownedDevices() ([]netfab.Owned, error) {
	links, err := a.rt.Links()
	var all []netfab.Owned
	for _, name := range sortedKeys(links) {
		o := ownedBy(links[name].Alias)
		if o.Tag == "" && !deviceNames.MatchString(name) {
			continue
		}
		o.Kind, o.Name, o.Why = "device", name, why(o, "alias", links[name].Alias)
		all = append(all, o)
	}
	return all, err
}

// ownedTables lists nftables tables, and rules in other people's chains.
func (a *apply) ownedTables() ([]netfab.Owned, error) {
	conn, err := a.hostNFT()
	if err != nil {
		return nil, err
	}
	marks, err := conn.Marks(markPrefix)
	var all []netfab.Owned
	for _, m := range marks {
		o := ownedBy(m.Owner)
		name := familyName[m.Family] + " " + m.Table
		switch {
		case m.Chain != "":
			o.Kind, o.Name = "rules in", name+" "+m.Chain
		case o.Tag != "" || tableNames.MatchString(m.Table):
			o.Kind, o.Name = "table", name
		default:
			continue
		}
		o.Why = why(o, "comments of its rules", m.Owner)
		all = append(all, o)
	}
	return all, err
}

// ownedBy reads a mark: whose, and of which network.
func ownedBy(mark string) (o netfab.Owned) {
	rest, ok := strings.CutPrefix(mark, markPrefix)
	if !ok {
		return o
	}
	tag, rest, _ := strings.Cut(rest, " ")
	o.Tag = tag
	for _, before := range []string{"network ", "router of "} {
		if id, ok := strings.CutPrefix(rest, before); ok {
			o.Network = id
		}
	}
	return o
}

func why(o netfab.Owned, where, mark string) string {
	if o.Tag == "" {
		return "has a name like ours, and no mark"
	}
	return fmt.Sprintf("%s: %s", where, mark)
}
