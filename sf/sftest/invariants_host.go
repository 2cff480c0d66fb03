package sftest

import (
	"context"
	"net/netip"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
)

// checkMachines holds what runs on a host against the instances.
func (v *view) checkMachines(ctx context.Context, h HostView, seen map[string]string) error {
	machines, err := h.Hypervisor.List(ctx)
	if err != nil {
		return err
	}
	here := map[string]driver.State{}
	for _, m := range machines {
		here[m.ID] = m.State
		if !m.State.On() && !v.quiet {
			continue // one that does not run may still have to be removed
		}
		i := v.instance(m.ID)
		switch {
		case seen[m.ID] != "":
			v.fail("machine %s is on %s and on %s", m.ID, seen[m.ID], h.Node)
		case !v.quiet && !v.live[h.Node] && (i == nil || i.Deletion.Gone()):
			// Somebody said that the host is gone for good; it clears itself when it returns.
		case i == nil || i.Deletion.Gone():
			v.fail("machine %s is on %s and its instance is gone", m.ID, h.Node)
		case i.Node != h.Node:
			v.fail("machine %s is on %s and its instance on %s", m.ID, h.Node, i.Node)
		}
		seen[m.ID] = h.Node
	}
	for _, i := range v.instances {
		if !v.quiet || i.Node != h.Node || i.Deletion.Gone() || i.Status.State != sf.StateCreated {
			continue
		}
		var ok bool
		switch i.Status.Power {
		case sf.PowerOn:
			ok = here[i.UUID] == driver.Running || here[i.UUID] == driver.Stalled
		case sf.PowerPaused:
			ok = here[i.UUID] == driver.Paused
		default:
			ok = here[i.UUID] != "" && !here[i.UUID].On()
		}
		if !ok {
			v.fail("instance %s is said to be %s and its machine is %q", i.UUID, i.Status.Power, here[i.UUID])
		}
		if i.Status.Power != i.Power.Want && i.Status.Ended == "" {
			v.fail("instance %s should be %s and is %s", i.UUID, i.Power.Want, i.Status.Power)
		}
	}
	return nil
}

// checkVolumes holds a host's disks and copies against instances and snapshots.
func (v *view) checkVolumes(ctx context.Context, h HostView) error {
	ids, err := h.Volumes.List(ctx)
	for _, id := range ids {
		if i := v.instance(id); i == nil || i.Deletion.Gone() || i.Node != h.Node {
			v.fail("volumes of %s are on %s and its instance is not", id, h.Node)
		}
	}
	for _, i := range v.instances {
		if i.Node == h.Node && i.Status.State == sf.StateCreated && !i.Deletion.Gone() && !slices.Contains(ids, i.UUID) {
			v.fail("instance %s has no volumes on %s", i.UUID, h.Node)
		}
	}
	keep, ok := h.Volumes.(driver.Snapshots)
	if !ok || err != nil {
		return err
	}
	copies, err := keep.ListSnapshots(ctx)
	for _, id := range copies {
		if s, ok := v.snapshots[id]; !ok || s.Node != h.Node || s.Status.State == sf.StateError {
			v.fail("snapshot %s is on %s and should not be", id, h.Node)
		}
	}
	for id, s := range v.snapshots {
		if s.Node == h.Node && s.Status.State == sf.StateCreated && !slices.Contains(copies, id) {
			v.fail("snapshot %s is not on %s", id, h.Node)
		}
	}
	return err
}

// checkFabric holds a host's networks against the records.
func (v *view) checkFabric(ctx context.Context, h HostView) error {
	have, err := h.Fabric.Observe(ctx)
	if err != nil {
		return err
	}
	for _, stray := range have.Stray {
		v.fail("%s is left behind on %s", stray, h.Node)
	}
	wanted := map[string]int{}
	for id, node := range v.routers {
		if node == h.Node {
			wanted[id] = 0
		}
	}
	for _, nic := range v.nics {
		if nic.Node == h.Node {
			wanted[nic.Network]++
		}
	}
	for _, n := range have.Networks {
		ports, ok := wanted[n.ID]
		if !ok {
			v.fail("network %s is on %s and should not be", n.ID, h.Node)
		} else if ports != len(n.Ports) {
			v.fail("network %s has %d ports on %s, not %d", n.ID, len(n.Ports), h.Node, ports)
		}
		v.checkRemotes(h.Node, n)
		v.checkFloating(h.Node, n)
		delete(wanted, n.ID)
	}
	for id := range wanted {
		v.fail("network %s is not on %s", id, h.Node)
	}
	for _, n := range v.networks {
		ports, routes := 0, v.routers[n.UUID] == h.Node
		for _, nic := range v.nics {
			if nic.Network == n.UUID && nic.Node == h.Node {
				ports++
			}
		}
		if member := v.members[n.UUID+"/"+h.Node]; member != (routes || ports > 0) {
			v.fail("node %s is a member of network %s: %v, with %d ports there, its router: %v", h.Node, n.UUID, member, ports, routes)
		}
	}
	return nil
}

// checkRemotes holds what a host knows of a network's far ends against the records.
func (v *view) checkRemotes(node string, have netfab.Network) {
	address := func(node string) (a netip.Addr) {
		for _, n := range v.nodes {
			if n.Name == node && n.Address != "" {
				a = netip.MustParseAddr(n.Address)
			}
		}
		return a
	}
	if !address(node).IsValid() {
		return
	}
	want := map[netip.Addr]netip.Addr{} // VTEP by address
	for _, nic := range v.nics {
		if nic.Network == have.ID && nic.Node != node {
			want[nic.Address] = address(nic.Node)
		}
	}
	for _, n := range v.networks {
		if n.UUID == have.ID && n.NAT && v.routers[n.UUID] != node {
			want[n.Router()] = address(v.routers[n.UUID])
		}
	}
	for _, r := range have.Remote {
		if want[r.Addr] != r.VTEP {
			v.fail("%s sends what is for %s of network %s to %s, not to %s", node, r.Addr, have.ID, r.VTEP, want[r.Addr])
		}
		delete(want, r.Addr)
	}
	for addr, vtep := range want {
		v.fail("%s does not know that %s of network %s is at %s", node, addr, have.ID, vtep)
	}
}

// checkFloating holds a router's floating addresses against the records.
func (v *view) checkFloating(node string, have netfab.Network) {
	want := map[netip.Addr]netip.Addr{} // inside by outside
	for _, nic := range v.nics {
		if nic.Network == have.ID && nic.Floating.IsValid() && v.routers[have.ID] == node {
			want[nic.Floating] = nic.Address
		}
	}
	if have.Gateway != nil {
		for _, f := range have.Gateway.Floating {
			if want[f.Outside] != f.Inside {
				v.fail("%s leads floating address %s to %s, not to %s", node, f.Outside, f.Inside, want[f.Outside])
			}
			delete(want, f.Outside)
		}
	}
	for addr, inside := range want {
		v.fail("%s does not lead floating address %s to %s", node, addr, inside)
	}
}
