//go:build linux

package linux

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// setGateway makes the network's router, or makes it right: filters first, then
// the legs, so that it never forwards without them.
func (a *apply) setGateway(r *room, n *netfab.Network, o netfab.Outside) error {
	if err := r.build(router(n)); err != nil {
		return err
	}
	if err := r.sysctls(sysctls(true)); err != nil {
		return err
	}
	segment, err := a.rt.Link(a.names.outside())
	if err != nil {
		return err
	}
	if err := a.plug(r, n, segment); err != nil {
		return err
	}
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	// Replacing rules makes the kernel wait for all processors, so only if need be.
	if !slices.Equal(links[bridgeName].MAC, bridgeMAC(n)) {
		if err := r.build(filter(n)); err != nil {
			return err
		}
	}
	if err := r.setStub(n); err != nil {
		return err
	}
	addrs, err := r.rt.Addrs()
	if err != nil {
		return err
	}
	out, bridge := links[outName].Index, links[bridgeName].Index
	mine := netip.PrefixFrom(n.Gateway.Addr, o.Whole().Bits())
	base := rt.Link{Index: bridge, Name: bridgeName, Alias: baseAlias(n)}
	if !slices.Equal(links[bridgeName].MAC, bridgeMAC(n)) {
		base.MAC = bridgeMAC(n)
	}
	todo := []rt.Request{rt.SetLink(base)}
	inside := netip.PrefixFrom(n.Router.Addr, n.Prefix.Bits())
	todo = append(todo, onlyAddrs(bridge, addrs[bridge], inside)...)
	wanted := []netip.Prefix{mine}
	for _, f := range n.Gateway.Floating {
		wanted = append(wanted, netip.PrefixFrom(f.Outside, 32))
	}
	todo = append(todo, onlyAddrs(out, addrs[out], wanted...)...)
	todo = append(todo,
		rt.SetLink(rt.Link{Index: out, Name: outName, MTU: segment.MTU, Group: linkGroup, Up: true, Alias: gatewayAlias(o, n.Gateway)}),
		rt.SetDefault(out, o.Router()),
		announce(out, outMAC(n.Gateway.Addr)))
	if err := r.links("set the router's legs", todo...); err != nil {
		return err
	}
	return r.neighbours(n)
}

// announce sets a link's MAC, the same again too, which makes the kernel tell the
// segment whose its addresses are now (arp_notify), so that nobody sends to the
// router that had them before. (A packet socket could say it as well, but
// closing one waits for all processors.)
func announce(link uint32, mac net.HardwareAddr) rt.Request {
	return rt.SetLink(rt.Link{Index: link, Name: outName, MAC: mac})
}

// onlyAddrs gives a link exactly the addresses wanted.
func onlyAddrs(link uint32, have []netip.Prefix, want ...netip.Prefix) []rt.Request {
	var todo []rt.Request
	for _, p := range have {
		if !slices.Contains(want, p) {
			todo = append(todo, rt.DelAddr(link, p))
		}
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			todo = append(todo, rt.AddAddr(link, p))
		}
	}
	return todo
}

// plug connects the namespace with the outside bridge by a veth pair.
func (a *apply) plug(r *room, n *netfab.Network, segment rt.Link) error {
	name := a.names.uplink(n.VNI)
	outer, err := a.rt.Link(name)
	if err != nil {
		return err
	}
	inner, err := r.rt.Link(outName)
	if err != nil {
		return err
	}
	if outer.Index != 0 && !strings.HasPrefix(outer.Alias, a.names.mark()+" ") {
		return a.foreignDevice(name)
	}
	want := rt.Link{Name: name, MAC: localMAC("uplink", name), MTU: segment.MTU, Up: true, Master: segment.Index,
		Alias: a.names.uplinkAlias(n.ID)}
	if outer.Index != 0 && inner.Index != 0 && inner.Peer == outer.Index {
		want.Index = outer.Index
		return a.hostLinks("set "+name, rt.SetLink(want))
	}
	if inner.Index != 0 { // a pair's ends go together
		if err := r.links("delete "+outName, rt.DelLink(outName)); err != nil {
			return err
		}
	}
	var todo []rt.Request
	if outer.Index != 0 {
		todo = append(todo, rt.DelLink(name))
	}
	todo = append(todo, rt.AddLink(want, rt.Veth(rt.Link{Name: outName, MAC: outMAC(n.Gateway.Addr), MTU: segment.MTU}, r.ns.Fd()), 0)...)
	if err := a.hostLinks("make "+name, todo...); err != nil {
		return err
	}
	return a.host.Do(func() error { return netns.Set(quiet(name)) })
}

// delGateway removes the router and leaves the network.
func (a *apply) delGateway(r *room, n *netfab.Network) error {
	if err := r.sysctls(sysctls(false)); err != nil {
		return err
	}
	if err := a.forgetFloats(r); err != nil {
		return err
	}
	conn, err := r.tables()
	if err != nil {
		return err
	}
	// The router may come back, and its addresses be others' meanwhile.
	if err := r.hook("end what is translated"); err != nil {
		return err
	}
	if err := conn.ForgetAll(); err != nil {
		return err
	}
	links, err := r.rt.Links()
	if err != nil {
		return err
	}
	addrs, err := r.rt.Addrs()
	if err != nil {
		return err
	}
	todo := []rt.Request{rt.DelLink(outName)}
	if bridge := links[bridgeName].Index; bridge != 0 { // else a step that follows makes it
		// Setting a MAC announces addresses with it: the router's must be gone.
		todo = append(todo, onlyAddrs(bridge, addrs[bridge])...)
		todo = append(todo, rt.SetLink(rt.Link{Index: bridge, Name: bridgeName, MAC: bridgeMAC(n)}))
	}
	if err := r.links("delete "+outName, todo...); err != nil {
		return err
	}
	if err := r.setStub(n); err != nil {
		return err
	}
	if err := r.neighbours(n); err != nil {
		return err
	}
	if err := r.hook("delete the router's table"); err != nil {
		return err
	}
	if err := conn.Delete(nftables.TableFamilyIPv4, tableName); err != nil {
		return err
	}
	return r.build(filter(n))
}

// addFloat makes an outside address lead to a guest, and the guest's way out
// lead through it.
func (a *apply) addFloat(r *room, f netfab.Floating) error {
	return a.setFloat(r, f, true)
}

// delFloat undoes addFloat.
func (a *apply) delFloat(r *room, f netfab.Floating) error {
	return a.setFloat(r, f, false)
}

func (a *apply) setFloat(r *room, f netfab.Floating, wanted bool) error {
	conn, err := r.tables()
	if err != nil {
		return err
	}
	inside, outside := floatElements(f)
	in, out := []nft.Element{inside}, []nft.Element{outside}
	address := rt.AddAddr
	if !wanted {
		in, out, address = nil, nil, rt.DelAddr
	}
	table := nft.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	first, err := conn.MatchPrefix(table, toInside, inside.Key, in)
	if err != nil {
		return err
	}
	second, err := wayOut(conn, table, outside, out)
	if err != nil {
		return err
	}
	if err := r.hook("translate " + f.Outside.String()); err != nil {
		return err
	}
	if err := conn.Update(table, first, second); err != nil {
		return err
	}
	if !wanted { // before the address, which has this done again after a crash
		if err := r.hook("end what is translated to " + f.Outside.String()); err != nil {
			return err
		}
		if err := conn.Forget(f.Outside); err != nil {
			return err
		}
	}
	leg, err := r.rt.Link(outName)
	if err != nil {
		return err
	}
	float := netip.PrefixFrom(f.Outside, 32)
	if leg.Index != 0 {
		if err := r.links("address "+float.String(), address(leg.Index, float), announce(leg.Index, leg.MAC)); err != nil {
			return err
		}
	}
	return a.admit(wanted, f.Outside)
}

// wayOut returns the change that leaves of a floating address's way out, and of its
// guest's, what is wanted. One that is half gone has no guest any more.
func wayOut(conn *nft.Conn, table nft.Table, e nft.Element, want []nft.Element) (nft.Change, error) {
	have, err := conn.Elements(table, toOutside)
	change := nft.Change{Set: toOutside, Add: want}
	for _, guest := range sortedKeys(have) {
		is := nft.Element{Key: guest, Value: have[guest]}
		switch {
		case is.Key != e.Key && is.Value != e.Value:
		case slices.Contains(want, is):
			change.Add = nil
		default:
			change.Del = append(change.Del, is)
		}
	}
	return change, err
}

// forgetFloats stops the host from forwarding to a network's floating addresses.
func (a *apply) forgetFloats(r *room) error {
	leg, err := r.rt.Link(outName)
	if err != nil || leg.Index == 0 {
		return err
	}
	addrs, err := r.rt.Addrs()
	if err != nil {
		return err
	}
	var floats []netip.Addr
	for _, p := range addrs[leg.Index] {
		if p.Bits() == 32 {
			floats = append(floats, p.Addr())
		}
	}
	return a.admit(false, floats...)
}
