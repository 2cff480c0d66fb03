//go:build linux

package linux

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// view is all of a namespace that is looked at.
type view struct {
	links      map[string]rt.Link
	addrs      map[uint32][]netip.Prefix
	fdb        []rt.FDB
	neighbours []rt.Neighbour
	macs       map[string]string
	allowed    map[string]string
	network    netfab.Network
	damage     []string
}

func (v *view) damaged(format string, args ...any) {
	v.damage = append(v.damage, fmt.Sprintf(format, args...))
}

// examine reads a network back from its namespace. The zero known means that
// the namespace is not ours.
func (a *apply) examine(r *room) (known, error) {
	v := &view{}
	var err error
	if v.links, err = r.rt.Links(); err != nil {
		return known{}, err
	}
	id, ours := a.names.networkID(v.links["lo"].Alias)
	if !ours {
		return known{}, nil
	}
	v.network = netfab.Network{ID: id, VNI: r.vni}
	if err := v.load(r); err != nil {
		return known{}, err
	}
	v.base()
	if err := a.gateway(r, v); err != nil {
		return known{}, err
	}
	if err := v.rules(r); err != nil {
		return known{}, err
	}
	if err := v.stub(r); err != nil {
		return known{}, err
	}
	v.ports()
	v.remotes()
	v.strangers()
	k := known{network: v.network}
	if vx := v.links[meshName]; vx.VXLAN != nil {
		k.underlay = vx.VXLAN.Local
		v.mesh(vx)
	}
	k.damage = v.damage
	return k, nil
}

func (v *view) load(r *room) (err error) {
	if v.addrs, err = r.rt.Addrs(); err != nil {
		return err
	}
	if v.fdb, err = r.rt.FDBs(); err != nil {
		return err
	}
	if v.neighbours, err = r.rt.Neighbours(); err != nil {
		return err
	}
	conn, err := r.tables()
	if err != nil {
		return err
	}
	if v.macs, err = conn.Elements(filterSets(), macSet); err != nil {
		return err
	}
	v.allowed, err = conn.Elements(filterSets(), addrSet)
	return err
}

// base checks br0.
func (v *view) base() {
	br := v.links[bridgeName]
	if br.Kind != "bridge" || !parseBase(br.Alias, &v.network) {
		v.damaged("br0 is missing or has lost its alias")
		return
	}
	v.network.MTU = br.MTU
	if !br.Up {
		v.damaged("br0 is down")
	}
	if !v.links["lo"].Up {
		v.damaged("lo is down")
	}
}

// rules checks the filter and the settings; who is the router is known by now.
func (v *view) rules(r *room) error {
	br := v.links[bridgeName]
	if want := bridgeMAC(&v.network); !slices.Equal(br.MAC, want) {
		v.damaged("br0 has MAC %s instead of %s", br.MAC, want)
	}
	conn, err := r.tables()
	if err != nil {
		return err
	}
	wrong, err := conn.Check(filter(&v.network))
	if err != nil {
		return err
	}
	if wrong != "" {
		v.damaged("%s", wrong)
	}
	return r.ns.Do(func() error {
		wrong, err := netns.Differ(sysctls(v.network.Gateway != nil))
		if wrong != "" {
			v.damaged("%s", wrong)
		}
		return err
	})
}

// ports reads the taps. A port that is not whole is reported by its ID alone.
func (v *view) ports() {
	expected := 0
	for _, name := range sortedKeys(v.links) {
		l := v.links[name]
		p, known := parsePort(l.Alias)
		switch {
		case l.Kind != "tun":
			continue
		case !known || netfab.TapName(p.ID) != name:
			if isTap(name) {
				v.damaged("tap %s has lost its alias", name)
			}
			continue
		}
		macs, addrs := portElements(p)
		if !v.whole(l, p, macs, addrs) {
			p = netfab.Port{ID: p.ID}
		}
		expected += len(macs) + len(addrs)
		v.network.Ports = append(v.network.Ports, p)
	}
	slices.SortFunc(v.network.Ports, func(a, b netfab.Port) int { return cmp.Compare(a.ID, b.ID) })
	if have := len(v.macs) + len(v.allowed); have > expected {
		v.damaged("the filter lets through %d senders instead of %d", have, expected)
	}
}

// whole tells whether everything that makes a port is in place.
func (v *view) whole(l rt.Link, p netfab.Port, macs, addrs []nft.Element) bool {
	for _, e := range macs {
		if _, ok := v.macs[e.Key]; !ok {
			return false
		}
	}
	for _, e := range addrs {
		if _, ok := v.allowed[e.Key]; !ok {
			return false
		}
	}
	bridge := v.links[bridgeName].Index
	if p.Addr.IsValid() && !slices.Contains(v.neighbours, rt.Neighbour{Link: bridge, Addr: p.Addr, MAC: [6]byte(mac(p.MAC))}) {
		return false
	}
	return l.Up && l.Group == linkGroup && l.MTU == v.network.MTU &&
		l.Master == v.links[bridgeName].Index && l.Port != nil && *l.Port == rt.Port{} &&
		slices.Equal(v.behind(l.Index), []rt.FDB{{Link: l.Index, MAC: [6]byte(mac(p.MAC))}})
}

// strangers checks that the bridge's neighbours are all members of the network.
func (v *view) strangers() {
	bridge := v.links[bridgeName].Index
	known := neighbours(bridge, v.network.Ports, v.network.Remote)
	for _, n := range v.neighbours {
		if n.Link == bridge && known[n.Addr] != n {
			v.damaged("br0 takes %s for a neighbour", n.Addr)
			return
		}
	}
}

// behind returns the bridge's entries of a port.
func (v *view) behind(port uint32) (entries []rt.FDB) {
	for _, e := range v.fdb {
		if e.Link == port && !e.Self {
			entries = append(entries, e)
		}
	}
	return entries
}

// gateway reads the router. One that is not whole is reported without its
// address, so that the next Apply sets it.
func (a *apply) gateway(r *room, v *view) error {
	out, exists := v.links[outName]
	if !exists {
		_, stub := stub(&v.network)
		if bridge := v.addrs[v.links[bridgeName].Index]; len(bridge) > 0 && !slices.Equal(bridge, stub) {
			v.network.Gateway = &netfab.Gateway{}
		}
		return nil
	}
	p, via, g := parseGateway(out.Alias)
	v.network.Gateway = &netfab.Gateway{}
	if g == nil || !v.network.Prefix.IsValid() {
		return nil
	}
	v.network.Gateway = g
	whole, err := a.gatewayWhole(r, v, out, p, via)
	if err != nil {
		return err
	}
	if g.Floating, err = v.floats(r, out); err != nil {
		return err
	}
	if !whole {
		g.Addr = netip.Addr{}
	}
	return nil
}

func (a *apply) gatewayWhole(r *room, v *view, out rt.Link, p netip.Prefix, via netip.Addr) (bool, error) {
	gateway, leg, err := r.rt.Default()
	if err != nil {
		return false, err
	}
	outer, err := a.rt.Link(a.names.uplink(r.vni))
	if err != nil {
		return false, err
	}
	segment, err := a.rt.Link(a.names.outside())
	if err != nil {
		return false, err
	}
	conn, err := r.tables()
	if err != nil {
		return false, err
	}
	wrong, err := conn.Check(router(&v.network))
	if err != nil {
		return false, err
	}
	o, _ := a.names.parseOutside(segment.Alias)
	n := v.network
	inside := netip.PrefixFrom(n.Router.Addr, n.Prefix.Bits())
	bridge := v.links[bridgeName].Index
	return wrong == "" && gateway == via && leg == out.Index &&
		out.Up && out.MTU == segment.MTU && via == o.Router() && p.Bits() == o.Whole().Bits() && out.Group == linkGroup && slices.Equal(out.MAC, outMAC(p.Addr())) &&
		slices.Contains(v.addrs[out.Index], p) && len(onlyAddrs(bridge, v.addrs[bridge], inside)) == 0 &&
		outer.Index != 0 && outer.Index == out.Peer && outer.Up && outer.Master == segment.Index && segment.Index != 0, nil
}

// floats reads the floating addresses; one that is not whole leads nowhere.
func (v *view) floats(r *room, out rt.Link) ([]netfab.Floating, error) {
	conn, err := r.tables()
	if err != nil {
		return nil, err
	}
	table := nft.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	inside, err := conn.Elements(table, toInside)
	if err != nil {
		return nil, err
	}
	outside, err := conn.Elements(table, toOutside)
	if err != nil {
		return nil, err
	}
	found := map[netip.Addr]netfab.Floating{}
	for key, value := range inside {
		from, to := addrOf(key), addrOf(value)
		f := netfab.Floating{Outside: from, Inside: to}
		if outside[value] != key || !slices.Contains(v.addrs[out.Index], netip.PrefixFrom(from, 32)) {
			f.Inside = netip.Addr{}
		}
		found[from] = f
		delete(outside, value)
	}
	for _, left := range outside {
		found[addrOf(left)] = netfab.Floating{Outside: addrOf(left)}
	}
	for _, p := range v.addrs[out.Index] {
		if _, ok := found[p.Addr()]; !ok && p.Bits() == 32 {
			found[p.Addr()] = netfab.Floating{Outside: p.Addr()}
		}
	}
	var floats []netfab.Floating
	for _, f := range found {
		floats = append(floats, f)
	}
	slices.SortFunc(floats, func(a, b netfab.Floating) int { return a.Outside.Compare(b.Outside) })
	return floats, nil
}

func addrOf(bytes string) netip.Addr {
	a, _ := netip.AddrFromSlice([]byte(bytes))
	return a
}

// mesh checks vx0.
func (v *view) mesh(vx rt.Link) {
	if !meshRight(vx, v.network.VNI, vx.VXLAN.Local) {
		v.damaged("vx0 is vni %d port %d", vx.VXLAN.VNI, vx.VXLAN.Port)
	}
	if !vx.Up || vx.MTU != v.network.MTU || vx.Group != linkGroup || vx.Master != v.links[bridgeName].Index ||
		vx.Port == nil || *vx.Port != (rt.Port{Suppress: true}) {
		v.damaged("vx0 is not the port it should be")
	}
}

// remotes reads the guests of other hosts. One that is not whole is reported by
// its MAC alone.
func (v *view) remotes() {
	vx, exists := v.links[meshName]
	if !exists {
		return
	}
	addrs := map[[6]byte]netip.Addr{}
	for _, n := range v.neighbours {
		if n.Link == v.links[bridgeName].Index {
			addrs[n.MAC] = n.Addr
		}
	}
	entries := map[rt.FDB]bool{}
	for _, e := range v.fdb {
		entries[e] = true
	}
	for _, e := range v.fdb {
		if !e.Self || e.Link != vx.Index || e.MAC == ([6]byte{}) {
			continue
		}
		remote := netfab.Remote{MAC: net.HardwareAddr(e.MAC[:]).String(), Addr: addrs[e.MAC], VTEP: e.Dst}
		if !entries[rt.FDB{Link: vx.Index, Self: true, Dst: e.Dst}] || !entries[rt.FDB{Link: vx.Index, MAC: e.MAC}] {
			remote = netfab.Remote{MAC: remote.MAC}
		}
		v.network.Remote = append(v.network.Remote, remote)
	}
	slices.SortFunc(v.network.Remote, func(a, b netfab.Remote) int { return cmp.Compare(a.MAC, b.MAC) })
}
