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
	for _, remote := range s.Want.Remote {
		if err := r.addRemote(remote); err != nil {
			return err
		}
	}
	return nil
}

// meshRight tells whether a device is the VXLAN of that network on that underlay.
func meshRight(l rt.Link, vni uint32, local netip.Addr) bool {
	return l.VXLAN != nil && *l.VXLAN == rt.VXLAN{VNI: vni, Local: local, Port: vxlanPort}
}

// addRemote says where a guest of another host is, in four places: who has its
// address, behind which port its MAC is, on which host, and that this host takes
// part in broadcasts.
func (r *room) addRemote(remote netfab.Remote) error {
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	vx, bridge := links[meshName].Index, links[bridgeName].Index
	entries, err := r.rt.FDBs()
	if err != nil {
		return err
	}
	m := [6]byte(mac(remote.MAC))
	todo := []rt.Request{
		rt.AddFDB(rt.FDB{Link: vx, MAC: m, Self: true, Dst: remote.VTEP}),
		rt.AddFDB(rt.FDB{Link: vx, MAC: m}),
	}
	if !reached(entries, [6]byte{}, remote.VTEP) {
		todo = append(todo, rt.AddFDB(rt.FDB{Link: vx, Self: true, Dst: remote.VTEP}))
	}
	if remote.Addr.IsValid() {
		todo = append(todo, rt.AddNeighbour(rt.Neighbour{Link: bridge, Addr: remote.Addr, MAC: m}))
	}
	return r.links("add remote "+remote.MAC, todo...)
}

// delRemote forgets a guest of another host, whatever is known of it.
func (r *room) delRemote(remote netfab.Remote) error {
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
	m := [6]byte(mac(remote.MAC))
	var todo []rt.Request
	others := map[netip.Addr]bool{}
	for _, e := range entries {
		if e.Self && e.MAC != m && e.MAC != ([6]byte{}) {
			others[e.Dst] = true
		}
	}
	for _, e := range entries {
		lonely := e.Self && e.MAC == [6]byte{} && !others[e.Dst]
		if e.Link == links[meshName].Index && (e.MAC == m || lonely) {
			todo = append(todo, rt.DelFDB(e))
		}
	}
	for _, n := range neighbours {
		if n.MAC == m {
			todo = append(todo, rt.DelNeighbour(n))
		}
	}
	return r.links("delete remote "+remote.MAC, todo...)
}

// reached tells whether a VXLAN entry for that MAC leads to that host.
func reached(entries []rt.FDB, mac [6]byte, vtep netip.Addr) bool {
	for _, e := range entries {
		if e.Self && e.MAC == mac && e.Dst == vtep {
			return true
		}
	}
	return false
}
