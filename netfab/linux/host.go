//go:build linux

package linux

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// floatSet holds the floating addresses that the world may reach through the host.
var floatSet = nft.Set{Name: "floating", Key: nftables.TypeIPAddr}

// peerSet holds the addresses that guests do not reach through the host.
var peerSet = nft.Set{Name: "peers", Key: nftables.TypeIPAddr}

// hostTable guards the host and what it forwards. It is about the outside
// bridge alone: other traffic passes untouched.
func hostTable(n names, o netfab.Outside) nft.Table {
	bridge := n.outside()
	from, to := nft.In(bridge), nft.Out(bridge)
	established := nft.Join(nft.State(nft.Established|nft.Related), nft.Accept())
	forward := []nft.Rule{
		// Frames between the segment's ports, where the host has its bridges' frames pass here.
		nft.Join(from, to, nft.Accept()),
	}
	if o.Hosted() {
		forward = append(forward, between(o, from, to, established)...)
	}
	forward = append(forward, nft.Join(from, nft.Drop()), nft.Join(to, nft.Drop()))
	chains := []nft.Chain{
		{Name: "input", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookInput, Priority: -10, Rules: []nft.Rule{
			nft.Join(from, established),
			nft.Join(from, nft.Drop()),
		}},
		{Name: "forward", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward, Priority: -10, Rules: forward},
	}
	if o.Mode == netfab.Local {
		leave := nft.Join(nft.NotOut(bridge), nft.NotOut("lo"), byUplink(o), nft.IPv4(), members(o, ipSrc), nft.Masquerade())
		chains = append(chains, nft.Chain{Name: "postrouting", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPostrouting,
			Priority: 100, Rules: []nft.Rule{leave}})
	}
	return nft.Table{Family: nftables.TableFamilyINet, Name: n.table(), Sets: []nft.Set{floatSet, peerSet}, Chains: chains}
}

// between are the rules of a host that forwards between the segment and the world.
// At an edge routers guard themselves: it does not know their floating addresses,
// and their connections outlive its own being the edge.
func between(o netfab.Outside, from, to, established nft.Rule) []nft.Rule {
	var rules []nft.Rule
	for _, p := range unroutable {
		rules = append(rules, nft.Join(from, nft.IPv4(), nft.Within(ipDst, p.Addr().As4(), p.Bits()), nft.Drop()))
	}
	if o.Mode == netfab.Local { // they would take a guest, masqueraded, for this host
		rules = append(rules, nft.Join(from, nft.IPv4(), nft.Load(nft.Network, ipDst, 4, 1), nft.InSet(peerSet.Name), nft.Drop()))
	}
	rules = append(rules, nft.Join(from, byUplink(o), nft.IPv4(), members(o, ipSrc), nft.Accept()))
	if o.Mode == netfab.Routed {
		return append(rules, nft.Join(to, nft.IPv4(), members(o, ipDst), nft.Accept()))
	}
	return append(rules, nft.Join(to, established),
		nft.Join(to, nft.IPv4(), nft.Load(nft.Network, ipDst, 4, 1), nft.InSet(floatSet.Name), nft.Accept()))
}

// members matches addresses of the segment.
func members(o netfab.Outside, offset uint32) nft.Rule {
	return nft.Within(offset, o.Prefix.Addr().As4(), o.Prefix.Bits())
}

// byUplink matches what leaves by the uplink, where there is but one way out.
func byUplink(o netfab.Outside) nft.Rule {
	if o.Uplink == "" {
		return nil
	}
	return nft.Out(o.Uplink)
}

// pass are the rules that a foreign forward chain needs for us: towards us
// everything, for what may pass is decided in our own, and from us the ways to the
// world. What is beyond another device its owner may well mean to shield. They look
// like those of iptables, which can list them.
func pass(n names, ways []string) []nft.Rule {
	rules := []nft.Rule{nft.Join(nft.Out(n.outside()), nft.Counter(), nft.Accept())}
	for _, way := range ways {
		rules = append(rules, nft.Join(nft.In(n.outside()), nft.Out(way), nft.Counter(), nft.Accept()))
	}
	return rules
}

// pass finds out what they are now.
func (a *apply) pass(o netfab.Outside) ([]nft.Rule, error) {
	switch {
	case !o.Hosted():
		return pass(a.names, nil), nil
	case o.Uplink != "":
		return pass(a.names, []string{o.Uplink}), nil
	}
	links, err := a.rt.Links()
	if err != nil {
		return nil, err
	}
	addrs, err := a.rt.Addrs()
	if err != nil {
		return nil, err
	}
	defaults, err := a.rt.Defaults()
	if err != nil {
		return nil, err
	}
	var ways []string
	for _, name := range sortedKeys(links) {
		l := links[name]
		ours := strings.HasPrefix(l.Alias, a.names.mark()+" ")
		routes := slices.Contains(defaults, l.Index) // which a bridge between containers, or guests, does not
		if !ours && (routes || l.Kind != "bridge" && len(notLoopback(addrs[l.Index])) > 0) {
			ways = append(ways, name)
		}
	}
	return pass(a.names, ways), nil
}

// quiet are the settings of a host's device of ours: no IPv6, and ARP for its
// own addresses only.
func quiet(device string) []netns.Sysctl {
	return []netns.Sysctl{
		{Path: "ipv6/conf/" + device + "/disable_ipv6", Value: "1", Optional: true},
		{Path: "ipv4/conf/" + device + "/arp_ignore", Value: "1"},
		{Path: "ipv4/conf/" + device + "/arp_announce", Value: "2"},
		{Path: "ipv4/conf/" + device + "/arp_notify", Value: "1"},
		{Path: "ipv4/conf/" + device + "/send_redirects", Value: "0"},
		{Path: "ipv4/conf/" + device + "/accept_redirects", Value: "0"},
		{Path: "ipv4/conf/" + device + "/accept_source_route", Value: "0"},
		{Path: "ipv4/conf/" + device + "/route_localnet", Value: "0"},
	}
}

// forwarding is the one setting of the host itself.
var forwarding = []netns.Sysctl{{Path: "ipv4/ip_forward", Value: "1"}}

// setOutside makes the segment where routers meet the world, or makes it right:
// the guard first, then the bridge.
func (a *apply) setOutside(o netfab.Outside) error {
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	table := hostTable(a.names, o)
	exists, ours, err := conn.Owned(table.Family, table.Name)
	if err != nil {
		return err
	}
	if exists && !ours {
		return a.foreignTable("inet")
	}
	if err := a.hook("build table " + table.Name); err != nil {
		return err
	}
	if err := conn.Build(table); err != nil {
		return err
	}
	floats, err := conn.Match(table, floatSet, floatKeys(a.remaining()))
	if err != nil {
		return err
	}
	peers, err := conn.Match(table, peerSet, peerKeys(o))
	if err != nil {
		return err
	}
	if err := conn.Update(table, floats, peers); err != nil {
		return err
	}
	if err := a.openGates(conn, o); err != nil {
		return err
	}
	if err := a.setFence(conn, o); err != nil {
		return err
	}
	if err := a.setSegment(o); err != nil || !o.Hosted() {
		return err
	}
	if err := a.hook("set the host's sysctls"); err != nil {
		return err
	}
	return a.host.Do(func() error { return netns.Set(forwarding) })
}

// openGates keeps foreign forward chains from dropping what is ours.
func (a *apply) openGates(conn *nft.Conn, o netfab.Outside) error {
	drop, stale, err := conn.Gates()
	if err != nil {
		return err
	}
	rules, err := a.pass(o)
	if err != nil {
		return err
	}
	if err := a.hook("open foreign forward chains"); err != nil {
		return err
	}
	if err := conn.Shut(stale); err != nil {
		return err
	}
	return conn.Open(drop, rules)
}

// delOutside removes everything of ours that is not in a namespace.
func (a *apply) delOutside() error {
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	l, err := a.rt.Link(a.names.outside())
	if err != nil {
		return err
	}
	if old, ours := a.names.parseOutside(l.Alias); l.Index != 0 && ours {
		if err := a.leaveWorld(l, old, netfab.Outside{}); err != nil {
			return err
		}
		if err := a.hostLinks("delete "+l.Name, rt.DelLink(l.Name)); err != nil {
			return err
		}
	}
	if err := a.unshare(); err != nil { // where somebody else deleted the bridge
		return err
	}
	drop, stale, err := conn.Gates()
	if err != nil {
		return err
	}
	if err := a.hook("leave foreign forward chains"); err != nil {
		return err
	}
	if err := conn.Shut(append(drop, stale...)); err != nil {
		return err
	}
	if err := a.setFence(conn, netfab.Outside{}); err != nil && !errors.Is(err, netfab.ErrForeign) {
		return err
	}
	exists, ours, err := conn.Owned(nftables.TableFamilyINet, a.names.table())
	if err != nil || !exists || !ours {
		return err
	}
	if err := a.hook("delete table " + a.names.table()); err != nil {
		return err
	}
	return conn.Delete(nftables.TableFamilyINet, a.names.table())
}

// remaining are the networks wanted, and those that are left as they are because
// what is wanted of them cannot be.
func (a *apply) remaining() []netfab.Network {
	networks := slices.Clone(a.want.Networks)
	for id, k := range a.known {
		if !slices.ContainsFunc(networks, func(n netfab.Network) bool { return n.ID == id }) {
			networks = append(networks, k.network)
		}
	}
	return networks
}

// floatKeys are the elements of floatSet for some networks.
func floatKeys(networks []netfab.Network) []nft.Element {
	var keys []nft.Element
	for _, n := range networks {
		if n.Gateway == nil {
			continue
		}
		for _, f := range n.Gateway.Floating {
			keys = append(keys, nft.Element{Key: string(f.Outside.AsSlice())})
		}
	}
	return keys
}

// peerKeys are the elements of peerSet.
func peerKeys(o netfab.Outside) []nft.Element {
	var keys []nft.Element
	if o.Mode == netfab.Local { // in mode Routed guests come as themselves
		for _, p := range o.Peers {
			keys = append(keys, nft.Element{Key: string(p.AsSlice())})
		}
	}
	return keys
}

// refused reads the set's elements back.
func refused(conn *nft.Conn, table nft.Table) (peers []netip.Addr, err error) {
	have, err := conn.Elements(table, peerSet)
	for key := range have {
		peers = append(peers, addrOf(key))
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return peers, err
}

// admit says which floating addresses the world may reach through the host.
func (a *apply) admit(wanted bool, floats ...netip.Addr) error {
	if len(floats) == 0 {
		return nil
	}
	conn, err := a.hostNFT()
	if err != nil {
		return err
	}
	table := nft.Table{Family: nftables.TableFamilyINet, Name: a.names.table()}
	have, err := conn.Elements(table, floatSet)
	if err != nil {
		return err
	}
	change := nft.Change{Set: floatSet}
	var text []string
	for _, f := range floats {
		key := string(f.AsSlice())
		if _, there := have[key]; there == wanted {
			continue
		}
		text = append(text, f.String())
		if wanted {
			change.Add = append(change.Add, nft.Element{Key: key})
		} else {
			change.Del = append(change.Del, nft.Element{Key: key})
		}
	}
	if err := a.hook("admit " + strings.Join(text, " ")); err != nil {
		return err
	}
	return conn.Update(table, change)
}
