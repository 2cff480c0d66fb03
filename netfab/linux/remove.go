//go:build linux

package linux

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// Remove removes one thing of the inventory.
func (f *Fabric) Remove(ctx context.Context, thing netfab.Owned) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	a, err := f.begin(netfab.Underlay{})
	if err != nil {
		return err
	}
	defer a.close()
	now, err := a.inventory()
	if err != nil {
		return err
	}
	there := false
	for _, o := range now {
		if o.Kind != thing.Kind || o.Name != thing.Name {
			continue
		}
		there = true
		if o.Tag == thing.Tag && o.Network == thing.Network && o.Tag == f.names.tag {
			return a.removeOwned(o)
		}
	}
	if !there {
		return nil
	}
	return fmt.Errorf("%w: %s %s is not, or no longer, what carries the mark of %s", netfab.ErrForeign, thing.Kind, thing.Name, f.names.tag)
}

func (a *apply) removeOwned(o netfab.Owned) error {
	if err := a.hook("remove " + o.Kind + " " + o.Name); err != nil {
		return err
	}
	switch o.Kind {
	case "namespace":
		if vni, ok := a.names.vni(o.Name); ok {
			return a.delNetwork(o.Network, vni)
		}
		return netns.Unmount(filepath.Join(a.dir, o.Name))
	case "name":
		return netns.Unmount(filepath.Join(a.dir, o.Name))
	case "device":
		return a.rt.Do(rt.DelLink(o.Name))
	}
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	if o.Kind == "rules in" {
		drop, stale, err := conn.Gates()
		if err != nil {
			return err
		}
		return conn.Shut(append(drop, stale...))
	}
	family, table, _ := strings.Cut(o.Name, " ")
	for number, name := range familyName {
		if name == family {
			return conn.Delete(number, table)
		}
	}
	return fmt.Errorf("%w: %s %s", netfab.ErrNotFound, o.Kind, o.Name)
}
