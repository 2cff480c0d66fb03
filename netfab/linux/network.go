//go:build linux

package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// sysctls are a namespace's settings. The kernel copies the host's IPv4 values
// into a new one, so nothing is left to default; ip_forward comes first because
// writing it resets others.
func sysctls(gateway bool) []netns.Sysctl {
	forward := "0"
	if gateway {
		forward = "1"
	}
	settings := []netns.Sysctl{{Path: "ipv4/ip_forward", Value: forward}}
	for _, dev := range []string{"all", "default"} {
		for _, s := range []struct{ name, value string }{
			{"rp_filter", "1"}, {"arp_ignore", "1"}, {"arp_announce", "2"}, {"arp_notify", "1"}, {"send_redirects", "0"},
			{"accept_redirects", "0"}, {"accept_source_route", "0"}, {"route_localnet", "0"},
		} {
			settings = append(settings, netns.Sysctl{Path: "ipv4/conf/" + dev + "/" + s.name, Value: s.value})
		}
		settings = append(settings,
			netns.Sysctl{Path: "ipv6/conf/" + dev + "/disable_ipv6", Value: "1", Optional: true},
			netns.Sysctl{Path: "ipv6/conf/" + dev + "/accept_ra", Value: "0", Optional: true})
	}
	for _, family := range []string{"ip", "ip6", "arp"} { // frames between guests are the filter's alone
		settings = append(settings, netns.Sysctl{Path: "bridge/bridge-nf-call-" + family + "tables", Value: "0", Optional: true})
	}
	return settings
}

// addNetwork makes a network's base in a namespace without a name, and names it
// when it is whole: who is killed before leaves nothing.
func (a *apply) addNetwork(s netfab.Step) error {
	if err := a.vacant(s.VNI); err != nil {
		return err
	}
	a.leave()
	ns, err := a.withoutName(s)
	if err != nil {
		return err
	}
	if ns != nil {
		return a.rename(ns, s)
	}
	if ns, err = netns.New(); err != nil {
		return err
	}
	r, err := a.open(s.VNI, ns)
	if err != nil {
		ns.Close()
		return err
	}
	a.room = r
	if err := a.makeBase(r, s); err != nil {
		a.leave()
		return err
	}
	if err = a.hook("name the namespace"); err == nil {
		err = ns.Mount(a.path(s.VNI), a.names.networkAlias(s.Network)+"\n")
	}
	if err != nil {
		a.leave()
	}
	return err
}

// vacant checks that nobody has the name of a network's namespace.
func (a *apply) vacant(vni uint32) error {
	path := a.path(vni)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s exists and does not carry the mark of %q: remove it (`ip netns del %s`) or run with another tag",
		netfab.ErrForeign, path, a.names.tag, a.names.namespace(vni))
}

func (a *apply) makeBase(r *room, s netfab.Step) error {
	n := s.Want
	if err := r.sysctls(sysctls(n.Gateway != nil)); err != nil {
		return err
	}
	links := []rt.Request{rt.SetLink(rt.Link{Name: "lo", Up: true, Alias: a.names.networkAlias(n.ID)})}
	links = append(links, addBridge(n, bridgeIndex)...)
	if err := r.links("make br0", links...); err != nil {
		return err
	}
	if err := r.setStub(n); err != nil {
		return err
	}
	if err := r.build(filter(n)); err != nil {
		return err
	}
	return a.makeMesh(r, s)
}

// addBridge makes br0. Its MTU is set afterwards: a bridge that is born with one
// forgets it when a port leaves.
func addBridge(n *netfab.Network, index uint32) []rt.Request {
	want := bridgeLink(n)
	want.Index, want.MTU = index, 0
	return append(rt.AddLink(want, &rt.Bridge{}, 0), rt.SetLink(rt.Link{Name: bridgeName, MTU: n.MTU}))
}

func bridgeLink(n *netfab.Network) rt.Link {
	return rt.Link{Index: bridgeIndex, Name: bridgeName, Kind: "bridge", MAC: bridgeMAC(n), MTU: n.MTU,
		Up: true, Group: linkGroup, Alias: baseAlias(n)}
}

// setNetwork repairs or changes the base under the feet of its ports.
func (a *apply) setNetwork(r *room, s netfab.Step) error {
	n := s.Want
	if err := r.sysctls(sysctls(n.Gateway != nil)); err != nil {
		return err
	}
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	var todo []rt.Request
	if have, ok := links[bridgeName]; ok && have.Kind == "bridge" {
		want := bridgeLink(n)
		want.Index, want.Kind = have.Index, ""
		todo = append(todo, rt.SetLink(want))
	} else {
		todo = append(append(todo, rt.DelLink(bridgeName)), addBridge(n, 0)...)
	}
	wanted := map[string]bool{}
	for _, p := range n.Ports {
		wanted[netfab.TapName(p.ID)] = true
	}
	for name, l := range links {
		if l.Kind == "tun" && l.MTU != n.MTU {
			todo = append(todo, rt.SetLink(rt.Link{Index: l.Index, Name: name, MTU: n.MTU}))
		}
		if _, known := parsePort(l.Alias); l.Kind == "tun" && !known && !wanted[name] {
			todo = append(todo, rt.DelLink(name))
		}
	}
	if err := r.links("repair br0", todo...); err != nil {
		return err
	}
	if err := a.readopt(r, n, links); err != nil {
		return err
	}
	if err := r.setStub(n); err != nil {
		return err
	}
	if err := r.neighbours(n); err != nil {
		return err
	}
	if err := r.build(filter(n)); err != nil {
		return err
	}
	if err := r.allowOnly(n.Ports); err != nil {
		return err
	}
	return a.setMesh(r, s)
}

// readopt puts the taps of a bridge that had to be made anew into it, and ends what was
// bound to the old one.
func (a *apply) readopt(r *room, n *netfab.Network, before map[string]rt.Link) error {
	bridge, err := r.rt.Link(bridgeName)
	if err != nil || bridge.Index == before[bridgeName].Index {
		return err
	}
	a.endFrames(n.ID)
	for _, p := range n.Ports {
		if _, ok := before[netfab.TapName(p.ID)]; !ok {
			continue // a step of its own makes it
		}
		if err := r.setPort(n, p); err != nil {
			return err
		}
	}
	if n.Gateway == nil {
		return nil
	}
	inside := netip.PrefixFrom(n.Router.Addr, n.Prefix.Bits())
	return r.links("address of br0", rt.AddAddr(bridge.Index, inside))
}

// delNetwork removes a network with everything in it. Its devices go first, in
// one message: the kernel's own cleaning of a namespace comes later, and a new
// network of the same name must not meet the old one's.
func (a *apply) delNetwork(id string, vni uint32) error {
	r, err := a.enter(vni)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.forgetFloats(r); err != nil {
		return err
	}
	a.endOpen(id)
	delete(a.known, id)
	if err := r.links("delete the devices", rt.DelGroup(linkGroup), rt.DelLink(outName)); err != nil {
		return err
	}
	if err := a.hook("unname the namespace"); err != nil {
		return err
	}
	err = netns.Unmount(a.path(vni))
	a.leave()
	return err
}

// Kinds of strays, and how Observed names them.
const (
	strayName   = "name "   // a namespace's name without a namespace
	strayDevice = "device " // a router's outer leg without a router
)

// delStray removes what a crash left.
func (a *apply) delStray(name string) error {
	if err := a.hook("remove " + name); err != nil {
		return err
	}
	if device, ok := strings.CutPrefix(name, strayDevice); ok {
		return a.rt.Do(rt.DelLink(device))
	}
	return netns.Unmount(filepath.Join(a.dir, strings.TrimPrefix(name, strayName)))
}

// inode tells whether a name still leads to the same namespace.
func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}
