//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// Observe looks at the host, whatever is remembered.
func (f *Fabric) Observe(ctx context.Context) (netfab.Observed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return netfab.Observed{}, err
	}
	a, err := f.begin(netfab.Underlay{})
	if err != nil {
		return netfab.Observed{}, err
	}
	defer a.close()
	before := a.known
	a.known, a.outside = map[string]known{}, knownOutside{}
	o, err := a.observe()
	a.miss(before)
	return o, err
}

// observe gathers what of ours is on the host, from memory where that is fresh.
func (a *apply) observe() (netfab.Observed, error) {
	namespaces, err := a.namespaces()
	if err != nil {
		return netfab.Observed{}, err
	}
	byVNI := map[uint32]known{}
	for _, k := range a.known {
		byVNI[k.network.VNI] = k
	}
	seen := map[string]known{}
	var o netfab.Observed
	for _, name := range sortedKeys(namespaces) {
		k, stray, err := a.lookAt(name, namespaces[name], byVNI[namespaces[name]])
		if err != nil {
			return o, fmt.Errorf("namespace %s: %w", name, err)
		}
		if stray {
			o.Stray = append(o.Stray, strayName+name)
		}
		if k.network.ID != "" {
			seen[k.network.ID] = k
		}
	}
	a.leave()
	before := a.known
	a.known = seen
	a.miss(before)
	a.checkOpen()
	addNetworks(&o, seen)
	return o, a.observeHost(&o)
}

// lookAt tells what a name that could be ours is. What is not ours is nothing.
func (a *apply) lookAt(name string, vni uint32, before known) (k known, stray bool, err error) {
	path := filepath.Join(a.dir, name)
	ino, err := inode(path)
	if errors.Is(err, os.ErrNotExist) {
		return known{}, false, nil
	}
	if err != nil {
		return known{}, false, err
	}
	if before.ns == ino && a.fresh(before.since) {
		return before, false, nil
	}
	if !netns.Named(path) {
		// Whoever is killed between making the file and writing its note leaves an
		// empty one, in which nobody can have anything to lose.
		note, err := os.ReadFile(path)
		return known{}, len(note) == 0 || strings.HasPrefix(string(note), a.names.networkAlias("")), err
	}
	r, err := a.enter(vni)
	if err != nil {
		return known{}, false, err
	}
	k, err = a.examine(r)
	k.ns, k.since = ino, a.now()
	return k, false, err
}

// addNetworks puts what is known of networks into the terms of Observed.
func addNetworks(o *netfab.Observed, seen map[string]known) {
	for _, id := range sortedKeys(seen) {
		if u := seen[id].underlay; u.IsValid() && !o.Underlay.Addr.IsValid() {
			o.Underlay.Addr = u
		}
	}
	for _, id := range sortedKeys(seen) {
		k := seen[id]
		o.Networks = append(o.Networks, k.network.Clone())
		if k.underlay != o.Underlay.Addr {
			k.damage = append(k.damage, fmt.Sprintf("vx0 is on underlay %v", k.underlay))
		}
		if len(k.damage) > 0 {
			if o.Damaged == nil {
				o.Damaged = map[string][]string{}
			}
			o.Damaged[id] = k.damage
		}
	}
}

// observeHost looks at what is outside the namespaces. Foreign forward chains
// are looked at each time: they change when somebody restarts a firewall.
func (a *apply) observeHost(o *netfab.Observed) error {
	if !a.fresh(a.outside.since) {
		if err := a.examineOutside(); err != nil {
			return err
		}
		strays, err := a.strayDevices()
		if err != nil {
			return err
		}
		o.Stray = append(o.Stray, strays...)
		if err := a.examineFloats(o.Networks); err != nil {
			return err
		}
		a.outside.since = a.now()
	}
	o.Outside = a.outside.is
	o.OutsideDamaged = a.outside.damage
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	drop, stale, err := conn.Gates()
	if err != nil {
		return err
	}
	if !o.Outside.Prefix.IsValid() {
		if left := conn.Closed(append(drop, stale...), nil); left != "" {
			o.OutsideDamaged = append(o.OutsideDamaged, "forward chains "+left+" have rules of ours")
		}
		return nil
	}
	if len(drop) == 0 {
		return nil
	}
	rules, err := a.pass(o.Outside)
	if closed := conn.Closed(drop, rules); closed != "" && err == nil {
		o.OutsideDamaged = append(o.OutsideDamaged, "forward chains "+closed+" drop, or pass too much")
	}
	return err
}

// examineOutside looks at the outside bridge and the host's table.
func (a *apply) examineOutside() error {
	a.outside.is, a.outside.damage = netfab.Outside{}, nil
	damaged := func(format string, args ...any) {
		a.outside.damage = append(a.outside.damage, fmt.Sprintf(format, args...))
	}
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	exists, ours, err := conn.Owned(nftables.TableFamilyINet, a.names.table())
	if err != nil {
		return err
	}
	l, err := a.rt.Link(a.names.outside())
	if err != nil {
		return err
	}
	is, mine := a.names.parseOutside(l.Alias)
	if l.Index == 0 || !mine {
		if exists && ours {
			damaged("table %s is there, %s is not", a.names.table(), a.names.outside())
		}
		mesh, err := a.rt.Link(a.names.sharedMesh())
		if mesh.Alias == a.names.sharedAlias() {
			damaged("%s is there, %s is not", mesh.Name, a.names.outside())
		}
		return err
	}
	a.outside.is = is
	if !is.Prefix.IsValid() {
		damaged("alias of %s is %q", l.Name, l.Alias)
		return nil
	}
	addrs, err := a.rt.Addrs()
	if err != nil {
		return err
	}
	if len(onlyAddrs(l.Index, addrs[l.Index], hostAddrs(is)...)) > 0 {
		damaged("addresses of %s are %v", l.Name, addrs[l.Index])
	}
	if err := a.examineSegment(l); err != nil {
		return err
	}
	table := hostTable(a.names, is)
	if is.Mode == netfab.Local {
		if a.outside.is.Peers, err = refused(conn, table); err != nil {
			return err
		}
	}
	wrong, err := conn.Check(table)
	if err != nil {
		return err
	}
	if wrong != "" {
		damaged("%s", wrong)
	}
	if wrong, err = a.checkFence(conn, is); err != nil {
		return err
	}
	if wrong != "" {
		damaged("%s", wrong)
	}
	return a.host.Do(func() error {
		settings := quiet(l.Name)
		if is.Hosted() {
			settings = append(settings, forwarding...)
		}
		wrong, err := netns.Differ(settings)
		if wrong != "" {
			damaged("%s", wrong)
		}
		return err
	})
}

// examineSegment looks at the outside bridge and its ways to the world.
func (a *apply) examineSegment(l rt.Link) error {
	is := &a.outside.is
	damaged := func(format string, args ...any) {
		a.outside.damage = append(a.outside.damage, fmt.Sprintf(format, args...))
	}
	mtu, err := a.segmentMTU(*is)
	if err != nil {
		return err
	}
	if !l.Up || mtu != 0 && l.MTU != mtu || !slices.Equal(l.MAC, segmentMAC(a.names, *is)) {
		damaged("%s has up %t mtu %d lladdr %s", l.Name, l.Up, l.MTU, l.MAC)
	}
	if is.Uplink != "" && (is.Mode == netfab.L2 || is.EdgeAddr.IsValid() && is.Edge) {
		up, err := a.rt.Link(is.Uplink)
		if err != nil {
			return err
		}
		addrs, err := a.rt.Addrs()
		if err != nil {
			return err
		}
		switch {
		case is.Mode == netfab.L2 && (up.Master != l.Index || !up.Up):
			damaged("uplink %s has index %d up %t, is a port of the segment %t", is.Uplink, up.Index, up.Up, up.Master == l.Index)
		case is.Mode != netfab.L2 && !slices.Contains(addrs[up.Index], is.EdgeAddr):
			damaged("uplink %s has not %s", is.Uplink, is.EdgeAddr)
		}
	}
	if is.Mode != netfab.Routed {
		return nil
	}
	mesh, err := a.rt.Link(a.names.sharedMesh())
	if err != nil {
		return err
	}
	local := a.underlay.Addr
	if mesh.VXLAN != nil && !local.IsValid() { // Observe is told of none
		local = mesh.VXLAN.Local
	}
	if !sharedRight(mesh, is.VNI, local) || !mesh.Up || mesh.MTU != l.MTU || mesh.Master != l.Index {
		damaged("%s is not the port it should be", a.names.sharedMesh())
	}
	is.Peers, err = a.peers(mesh.Index)
	return err
}

// examineFloats compares the floating addresses that the world may reach with
// those that networks have.
func (a *apply) examineFloats(networks []netfab.Network) error {
	if !a.outside.is.Prefix.IsValid() {
		return nil
	}
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	change, err := conn.Match(hostTable(a.names, a.outside.is), floatSet, floatKeys(networks))
	if err == nil && len(change.Add)+len(change.Del) > 0 {
		a.outside.damage = append(a.outside.damage, "other floating addresses are admitted than networks have")
	}
	return err
}

// strayDevices finds routers' outer legs without a network.
func (a *apply) strayDevices() ([]string, error) {
	links, err := a.rt.Links()
	if err != nil {
		return nil, err
	}
	expected := map[string]bool{}
	for _, k := range a.known {
		expected[a.names.uplink(k.network.VNI)] = true
	}
	var strays []string
	for _, name := range sortedKeys(links) {
		ours := strings.HasPrefix(links[name].Alias, a.names.uplinkAlias(""))
		if ours && strings.HasPrefix(name, a.names.fenced()) && !expected[name] {
			strays = append(strays, strayDevice+name)
		}
	}
	return strays, nil
}
