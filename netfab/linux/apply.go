//go:build linux

package linux

import (
	"fmt"
	"net/netip"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

type netipAddr = netip.Addr

// apply is one Apply or Observe at work: the fabric and what is open for it.
// Nothing stays open between calls, so that a namespace lives no longer than its
// name.
type apply struct {
	*Fabric
	rt       *rt.Conn  // of the host
	nft      *nft.Conn // of the host; opened when needed
	room     *room     // of the network at work
	underlay netfab.Underlay
	want     netfab.Desired // normal; of an Apply
	remotes  map[string]*remotes
	unnamed  map[string]*netns.NS // by the alias of lo; nil before they were looked for
	renamed  []string             // networks whose namespaces got their names back
}

// begin opens the host and resolves the underlay's MTU.
func (f *Fabric) begin(underlay netfab.Underlay) (*apply, error) {
	conn, err := rt.Dial(f.host.Fd())
	if err != nil {
		return nil, err
	}
	a := &apply{Fabric: f, rt: conn, underlay: underlay}
	if underlay.Addr.IsValid() && underlay.MTU == 0 {
		if a.underlay.MTU, err = a.mtuOf(underlay.Addr); err != nil {
			a.close()
			return nil, err
		}
	}
	return a, nil
}

func (a *apply) close() {
	a.leave()
	for _, ns := range a.unnamed {
		ns.Close()
	}
	a.rt.Close()
	if a.nft != nil {
		a.nft.Close()
	}
}

// mtuOf returns the MTU of the host's device that has an address.
func (a *apply) mtuOf(addr netip.Addr) (int, error) {
	addrs, err := a.rt.Addrs()
	if err != nil {
		return 0, err
	}
	links, err := a.rt.Links()
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		for _, p := range addrs[l.Index] {
			if p.Addr() == addr {
				return l.MTU, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: no device of this host has the underlay address %s", netfab.ErrInvalid, addr)
}

// hostNFT opens the host's nftables.
func (a *apply) hostNFT() (*nft.Conn, error) {
	if a.nft != nil {
		return a.nft, nil
	}
	conn, err := nft.Dial(a.host.Fd(), a.names.mark())
	a.nft = conn
	return conn, err
}

// hostLinks changes links of the host.
func (a *apply) hostLinks(what string, requests ...rt.Request) error {
	if err := a.hook(what); err != nil {
		return err
	}
	return a.rt.Do(requests...)
}

// room is an open namespace of a network.
type room struct {
	vni   uint32
	ns    *netns.NS
	rt    *rt.Conn
	nft   *nft.Conn
	hook  func(string) error
	owner string
}

// enter opens a network's namespace by its name, and checks whose it is.
func (a *apply) enter(vni uint32) (*room, error) {
	if a.room != nil && a.room.vni == vni {
		return a.room, nil
	}
	a.leave()
	ns, err := netns.Open(a.path(vni))
	if err != nil {
		return nil, err
	}
	r, err := a.open(vni, ns)
	if err != nil {
		ns.Close()
		return nil, err
	}
	a.room = r
	return r, nil
}

// leave closes the namespace at work.
func (a *apply) leave() {
	if a.room != nil {
		a.room.close()
		a.room = nil
	}
}

func (a *apply) open(vni uint32, ns *netns.NS) (*room, error) {
	conn, err := rt.Dial(ns.Fd())
	if err != nil {
		return nil, err
	}
	return &room{vni: vni, ns: ns, rt: conn, hook: a.hook, owner: a.names.mark()}, nil
}

func (r *room) close() {
	r.rt.Close()
	if r.nft != nil {
		r.nft.Close()
	}
	r.ns.Close()
}

// tables opens the namespace's nftables.
func (r *room) tables() (*nft.Conn, error) {
	if r.nft != nil {
		return r.nft, nil
	}
	conn, err := nft.Dial(r.ns.Fd(), r.owner)
	r.nft = conn
	return conn, err
}

// links changes links of the namespace.
func (r *room) links(what string, requests ...rt.Request) error {
	if err := r.hook(what); err != nil {
		return err
	}
	return r.rt.Do(requests...)
}

// build makes or repairs a table.
func (r *room) build(t nft.Table) error {
	conn, err := r.tables()
	if err == nil {
		err = r.hook("build table " + t.Name)
	}
	if err != nil {
		return err
	}
	return conn.Build(t)
}

// sysctls writes the namespace's settings.
func (r *room) sysctls(settings []netns.Sysctl) error {
	if err := r.hook("set sysctls"); err != nil {
		return err
	}
	return r.ns.Do(func() error { return netns.Set(settings) })
}

// step executes one step.
func (a *apply) step(s netfab.Step) error {
	a.log.Debug("apply", "step", s)
	switch s.Op {
	case netfab.StrayDel:
		return a.delStray(s.Stray)
	case netfab.OutsideSet:
		return a.setOutside(s.Outside)
	case netfab.OutsideDel:
		return a.delOutside()
	case netfab.NetworkAdd:
		return a.addNetwork(s)
	case netfab.NetworkDel:
		return a.delNetwork(s.Network, s.VNI)
	}
	r, err := a.enter(s.VNI)
	if err != nil {
		return err
	}
	switch s.Op {
	case netfab.NetworkSet:
		return a.setNetwork(r, s)
	case netfab.PortAdd, netfab.PortSet:
		return r.setPort(s.Want, s.Port)
	case netfab.PortDel:
		return r.delPort(s.Want, s.Port)
	case netfab.GatewaySet:
		return a.setGateway(r, s.Want, s.Outside)
	case netfab.GatewayDel:
		return a.delGateway(r, s.Want)
	case netfab.FloatAdd:
		return a.addFloat(r, s.Floating)
	case netfab.FloatDel:
		return a.delFloat(r, s.Floating)
	case netfab.RemoteAdd, netfab.RemoteDel:
		return a.setRemotes(r, s)
	}
	return fmt.Errorf("step %q is unknown", s.Op)
}
