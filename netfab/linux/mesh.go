//go:build linux

package linux

import (
	"fmt"
	"net/netip"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// vxlanPort is the one that IANA gave VXLAN; the kernel's own default is another.
const vxlanPort = 4789

// makeMesh makes the network's VXLAN device where the host is part of a mesh:
// in the host's namespace, where its packets go, and born in the network's.
func (a *apply) makeMesh(r *room, s netfab.Step) error {
	if !s.Underlay.Addr.IsValid() {
		return nil
	}
	want := rt.Link{Name: meshName, MAC: localMAC("mesh", s.Underlay.Addr, s.VNI), MTU: s.Want.MTU}
	data := &rt.VXLAN{VNI: s.VNI, Local: s.Underlay.Addr, Port: vxlanPort}
	if err := a.hostLinks("make vx0", rt.AddLink(want, data, r.ns.Fd())...); err != nil {
		return fmt.Errorf("VXLAN device (is the VNI %d in use on this host?): %w", s.VNI, err)
	}
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	return r.links("set vx0", meshPort(links[meshName].Index, links[bridgeName].Index, s.Want.MTU)...)
}

// meshPort makes vx0 a port that learns nothing and answers ARP for those who
// are known to be behind it.
func meshPort(index, bridge uint32, mtu int) []rt.Request {
	return []rt.Request{
		rt.SetLink(rt.Link{Index: index, Name: meshName, Master: bridge, MTU: mtu, Group: linkGroup, Up: true}),
		rt.SetLink(rt.Link{Index: index, Name: meshName, Port: &rt.Port{Suppress: true}}),
	}
}

// setMesh repairs vx0, or makes it anew when it carries the wrong network.
func (a *apply) setMesh(r *room, s netfab.Step) error {
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	vx, exists := links[meshName]
	if exists && s.Underlay.Addr.IsValid() && meshRight(vx, s.VNI, s.Underlay.Addr) {
		return r.links("set vx0", meshPort(vx.Index, links[bridgeName].Index, s.Want.MTU)...)
	}
	if exists {
		if err := r.links("delete vx0", rt.DelLink(meshName)); err != nil {
			return err
		}
	}
	if err := a.makeMesh(r, s); err != nil {
		return err
	}
	if len(s.Want.Remote) == 0 {
		return nil
	}
	return r.addRemotes(s.Want.Remote)
}

// meshRight tells whether a device is the VXLAN of that network on that underlay.
func meshRight(l rt.Link, vni uint32, local netip.Addr) bool {
	return l.VXLAN != nil && *l.VXLAN == rt.VXLAN{VNI: vni, Local: local, Port: vxlanPort}
}

// addRemotes says where guests of other hosts are, in four places: who has an
// address, behind which port a MAC is, on which host, and that this host takes
// part in broadcasts.
func (r *room) addRemotes(remotes []netfab.Remote) error {
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	vx, bridge := links[meshName].Index, links[bridgeName].Index
	entries, err := r.rt.FDBs()
	if err != nil {
		return err
	}
	told := map[netip.Addr]bool{} // who is sent broadcasts
	for _, e := range entries {
		told[e.Dst] = told[e.Dst] || e.Self && e.MAC == [6]byte{}
	}
	var todo []rt.Request
	for _, remote := range remotes {
		m := [6]byte(mac(remote.MAC))
		todo = append(todo, rt.AddFDB(rt.FDB{Link: vx, MAC: m, Self: true, Dst: remote.VTEP}), rt.AddFDB(rt.FDB{Link: vx, MAC: m}))
		if !told[remote.VTEP] {
			told[remote.VTEP] = true
			todo = append(todo, rt.AddFDB(rt.FDB{Link: vx, Self: true, Dst: remote.VTEP}))
		}
		if remote.Addr.IsValid() {
			todo = append(todo, rt.AddNeighbour(rt.Neighbour{Link: bridge, Addr: remote.Addr, MAC: m}))
		}
	}
	return r.links(remotesText("add", remotes), todo...)
}

// delRemotes forgets guests of other hosts, whatever is known of them.
func (r *room) delRemotes(n *netfab.Network, remotes []netfab.Remote) error {
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	entries, err := r.rt.FDBs()
	if err != nil {
		return err
	}
	neighbours, err := r.rt.Neighbours()
	if err != nil {
		return err
	}
	gone := map[[6]byte]bool{}
	for _, remote := range remotes {
		gone[[6]byte(mac(remote.MAC))] = true
	}
	others := map[netip.Addr]bool{}
	for _, e := range entries {
		if e.Self && !gone[e.MAC] && e.MAC != ([6]byte{}) {
			others[e.Dst] = true
		}
	}
	var todo []rt.Request
	for _, e := range entries {
		lonely := e.Self && e.MAC == [6]byte{} && !others[e.Dst]
		if e.Link == links[meshName].Index && (gone[e.MAC] || lonely) {
			todo = append(todo, rt.DelFDB(e))
		}
	}
	var addrs []netip.Addr
	for _, guest := range neighbours {
		if gone[guest.MAC] {
			todo = append(todo, rt.DelNeighbour(guest))
			addrs = append(addrs, guest.Addr)
		}
	}
	if err := r.silence(n, addrs...); err != nil {
		return err
	}
	return r.links(remotesText("delete", remotes), todo...)
}

func remotesText(verb string, remotes []netfab.Remote) string {
	if len(remotes) == 1 {
		return verb + " remote " + remotes[0].MAC
	}
	return fmt.Sprintf("%s %d remotes", verb, len(remotes))
}

// remotes is what becomes of a network's guests on other hosts in one Apply. All
// that come are made by the first of their steps, and all that go by the first of
// theirs: listing what the kernel has costs the same for one as for a thousand.
type remotes struct {
	add, del []netfab.Remote
}

// gatherRemotes sorts the steps of remotes by network.
func gatherRemotes(steps []netfab.Step) map[string]*remotes {
	all := map[string]*remotes{}
	for _, s := range steps {
		if s.Op != netfab.RemoteAdd && s.Op != netfab.RemoteDel {
			continue
		}
		if all[s.Network] == nil {
			all[s.Network] = &remotes{}
		}
		if of := all[s.Network]; s.Op == netfab.RemoteAdd {
			of.add = append(of.add, s.Remote)
		} else {
			of.del = append(of.del, s.Remote)
		}
	}
	return all
}

// setRemotes executes a step of a remote, and those like it.
func (a *apply) setRemotes(r *room, s netfab.Step) (err error) {
	of := a.remotes[s.Network]
	switch {
	case s.Op == netfab.RemoteAdd && len(of.add) > 0:
		err, of.add = r.addRemotes(of.add), nil
	case s.Op == netfab.RemoteDel && len(of.del) > 0:
		err, of.del = r.delRemotes(s.Want, of.del), nil
	}
	return err
}
