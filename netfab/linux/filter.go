//go:build linux

package linux

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
)

// Sets of the filter: which MAC, and which MAC with which address, may come
// from which port. Rules do not grow with the number of ports.
var (
	macSet = nft.Set{Name: "macs", Native: true,
		Key: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr)}
	addrSet = nft.Set{Name: "addrs", Native: true,
		Key: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr)}
)

// Meters of what ports send to our servers: one guest that asks as fast as it can is to
// starve nobody's answers and to keep no processor of the host busy. A guest that boots
// says a few words to DHCP, and retries seldom; names are asked for by whole programs.
var (
	dhcpMeter = nft.Set{Name: "dhcp-rate", Native: true, Meters: true, Key: nftables.TypeIFName}
	dnsMeter  = nft.Set{Name: "dns-rate", Native: true, Meters: true, Key: nftables.TypeIFName}
)

// What one port may send to our servers, in packets, and at once before that counts.
const (
	dhcpRate, dhcpBurst = 20, 50
	dnsRate, dnsBurst   = 1000, 1000
)

// Registers that follow a 16 byte interface name in register 1.
const (
	afterName = unix.NFT_REG32_00 + 4 // 6 bytes of MAC, padded to 8
	afterMAC  = unix.NFT_REG32_00 + 6
)

// Where things are: Ethernet, IPv4, ARP, UDP.
const (
	etherDst, etherSrc, etherType = 0, 6, 12
	ipProto, ipSrc, ipDst         = 9, 12, 16
	arpOp, arpMAC, arpAddr        = 6, 8, 14
	arpTarget                     = 24
	sport, dport                  = 0, 2
)

// filter is the bridge table of a network: who may send what. A security group
// is more rules in chain forward, keyed by the outgoing port.
func filter(n *netfab.Network) nft.Table {
	bridge := bridgeMAC(n)
	fromPort := nft.Rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}}
	tooMuch := func(meter nft.Set, rate uint64, burst uint32) nft.Rule {
		return nft.Join(fromPort, nft.Beyond(meter.Name, rate, burst), nft.Drop())
	}
	ownMAC := nft.Join(fromPort, nft.Load(nft.Link, etherSrc, 6, afterName))
	ownAddr := nft.Join(ownMAC, nft.Load(nft.Network, ipSrc, 4, afterMAC), nft.InSet(addrSet.Name))
	ownARPMAC := nft.Join(fromPort, nft.Load(nft.Network, arpMAC, 6, afterName))
	ownARP := nft.Join(ownARPMAC, nft.Load(nft.Network, arpAddr, 4, afterMAC), nft.InSet(addrSet.Name))
	ownProbe := nft.Join(ownARPMAC, nft.Load(nft.Network, arpTarget, 4, afterMAC), nft.InSet(addrSet.Name))
	ipv4 := nft.Is(nft.Link, etherType, 0x08, 0x00)
	udp := nft.Join(ipv4, nft.Is(nft.Network, ipProto, unix.IPPROTO_UDP))
	toDHCP := nft.Join(udp, nft.Is(nft.Transport, dport, 0, 67))
	fromDHCP := nft.Join(udp, nft.Is(nft.Transport, sport, 0, 67))
	nobody := nft.Is(nft.Network, ipSrc, 0, 0, 0, 0)
	toBridge := nft.SetLink(etherDst, bridge) // this host's end of the network

	prerouting := []nft.Rule{
		nft.Join(nft.In(meshName), nft.Goto("mesh")),
		nft.Join(ownMAC, nft.NotInSet(macSet.Name), nft.Drop()),
		nft.Join(nft.Is(nft.Link, etherType, 0x08, 0x06), nft.Goto("arp")),
		nft.Join(nft.IsNot(nft.Link, etherType, 0x08, 0x00), nft.Drop()),
		// What has no sound header has no port for the rules below, and may well have
		// one for a guest that reads frames by itself, as DHCP clients do.
		nft.Join(nft.Sound(), nft.Goto("packet")),
		nft.Drop(),
	}
	packet := []nft.Rule{
		nft.Join(fromDHCP, nft.Drop()),
		nft.Join(toDHCP, nft.Goto("dhcp")),
	}
	mesh := []nft.Rule{nft.Join(toDHCP, nft.Drop()), nft.Join(fromDHCP, nft.Drop())}
	if n.DNS {
		packet = append(packet, toDNS(n, ipv4, nft.Goto("dns"))...)
	}
	var input []nft.Rule
	if n.Gateway == nil { // else that is the router's
		direct := nft.Join(nft.Is(nft.Link, etherDst, bridge...), nft.Drop())
		packet, mesh = append(packet, direct), append(mesh, direct)
		// Ports have MACs of their own too, and broadcasts are for everybody.
		input = append(input, nft.Join(nft.Is(nft.Link, etherType, 0x08, 0x06), nft.Accept()), nft.Join(toDHCP, nft.Accept()))
		if n.DNS {
			input = append(input, toDNS(n, ipv4, nft.Accept())...)
		}
		input = append(input, nft.Drop())
	}
	return nft.Table{
		Family: nftables.TableFamilyBridge, Name: tableName, Sets: []nft.Set{macSet, addrSet, dhcpMeter, dnsMeter},
		Chains: []nft.Chain{
			{Name: "prerouting", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting, Priority: -300, Rules: prerouting},
			{Name: "packet", Rules: append(packet, nft.Join(ownAddr, nft.Accept()), nft.Drop())},
			{Name: "arp", Rules: []nft.Rule{
				nft.Join(nft.IsNot(nft.Network, 0, 0, 1, 0x08, 0x00, 6, 4), nft.Drop()),
				nft.Join(ownARP, nft.Accept()),
				// Is anybody using its address? Asking so about another's would be telling
				// that one, while it asks the same, that somebody does (RFC 5227, 2.1.1).
				nft.Join(ownProbe, nft.Is(nft.Network, arpOp, 0, 1), nft.Is(nft.Network, arpAddr, 0, 0, 0, 0), nft.Accept()),
				nft.Drop(),
			}},
			// A renewal is unicast to the server, which may seem to be elsewhere: it
			// is turned to this host's end of the bridge, past the kernel, which would
			// say that nobody is there. So is what asks for names.
			{Name: "dhcp", Rules: []nft.Rule{
				tooMuch(dhcpMeter, dhcpRate, dhcpBurst),
				nft.Join(nft.IsNot(nft.Link, etherDst, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), toBridge, nft.ForOther()),
				nft.Join(ownAddr, nft.Accept()),
				nft.Join(nobody, nft.Accept()),
				nft.Drop(),
			}},
			{Name: "dns", Rules: []nft.Rule{tooMuch(dnsMeter, dnsRate, dnsBurst), nft.Join(toBridge, nft.ForHost()), nft.Join(ownAddr, nft.Accept()), nft.Drop()}},
			{Name: "mesh", Rules: mesh},
			{Name: "forward", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward, Rules: []nft.Rule{
				nft.Join(toDHCP, nft.Drop()),
			}},
			{Name: "input", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookInput, Rules: input},
		},
	}
}

// toDNS are rules for what asks the router's address for names.
func toDNS(n *netfab.Network, match, verdict nft.Rule) (rules []nft.Rule) {
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		rules = append(rules, nft.Join(match, nft.Is(nft.Network, ipProto, proto), nft.Is(nft.Network, ipDst, n.Router.Addr.AsSlice()...),
			nft.Is(nft.Transport, dport, 0, 53), verdict))
	}
	return rules
}

// filterSets is the filter's table as those need it who change its sets alone.
func filterSets() nft.Table {
	return nft.Table{Family: nftables.TableFamilyBridge, Name: tableName}
}

// portElements are what a port adds to the filter's sets.
func portElements(p netfab.Port) (macs, addrs []nft.Element) {
	key := string(nft.IfName(netfab.TapName(p.ID))) + string(mac(p.MAC)) + "\x00\x00"
	macs = []nft.Element{{Key: key}}
	if p.Addr.IsValid() {
		addrs = []nft.Element{{Key: key + string(p.Addr.AsSlice())}}
	}
	return macs, addrs
}

// Maps of a router: floating address to guest, and back.
var (
	toInside  = nft.Set{Name: "inside", Key: nftables.TypeIPAddr, Value: nftables.TypeIPAddr}
	toOutside = nft.Set{Name: "outside", Key: nftables.TypeIPAddr, Value: nftables.TypeIPAddr}
)

// floatElements are what a floating address adds to them.
func floatElements(f netfab.Floating) (inside, outside nft.Element) {
	out, in := string(f.Outside.AsSlice()), string(f.Inside.AsSlice())
	return nft.Element{Key: out, Value: in}, nft.Element{Key: in, Value: out}
}

// unroutable are destinations that no guest reaches through a router: they mean
// the host itself, or whatever shares its links.
var unroutable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

// router is the ip table of a network whose router is here.
func router(n *netfab.Network) nft.Table {
	saddr, daddr := nft.Load(nft.Network, ipSrc, 4, 1), nft.Load(nft.Network, ipDst, 4, 1)
	inside := nft.Within(ipSrc, n.Prefix.Addr().As4(), n.Prefix.Bits())
	behind := nft.Join(nft.Value(n.Gateway.Addr.AsSlice()), nft.SNAT())
	established := nft.Join(nft.State(nft.Established|nft.Related), nft.Accept())
	ping := nft.Join(nft.Proto(unix.IPPROTO_ICMP), nft.Is(nft.Transport, 0, 8), nft.Accept())

	// A guest that could send to where hosts listen for VXLAN could send frames
	// into any network.
	vxlan := nft.Join(nft.Out(outName), nft.Proto(unix.IPPROTO_UDP), nft.Is(nft.Transport, dport, vxlanPort>>8, vxlanPort&0xff), nft.Drop())
	forward := []nft.Rule{nft.Join(nft.State(nft.Invalid), nft.Drop()), vxlan, established}
	for _, p := range unroutable {
		forward = append(forward, nft.Join(nft.Within(ipDst, p.Addr().As4(), p.Bits()), nft.Drop()))
	}
	leave := nft.Join(nft.In(bridgeName), nft.Out(outName), inside)
	if !n.Gateway.NAT { // only who has an address out there has business out there
		leave = nft.Join(leave, saddr, nft.InSet(toOutside.Name))
	}
	forward = append(forward, nft.Join(leave, nft.Accept()),
		nft.Join(nft.Out(bridgeName), nft.Status(nft.DNATed), nft.Accept()))

	input := []nft.Rule{established, ping}
	if n.DNS {
		input = append(input, toDNS(n, nft.In(bridgeName), nft.Accept())...)
	}
	source := []nft.Rule{
		// Guests of one network over a floating address: the answer must come
		// back through here, so the sender is the router.
		nft.Join(nft.Out(bridgeName), inside, behind),
		nft.Join(nft.Out(outName), saddr, nft.Map(toOutside.Name), nft.SNAT()),
	}
	if n.Gateway.NAT {
		source = append(source, nft.Join(nft.Out(outName), inside, behind))
	}
	return nft.Table{
		Family: nftables.TableFamilyIPv4, Name: tableName, Sets: []nft.Set{toInside, toOutside},
		Chains: []nft.Chain{
			{Name: "prerouting", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPrerouting, Priority: -100,
				Rules: []nft.Rule{nft.Join(daddr, nft.Map(toInside.Name), nft.DNAT())}},
			{Name: "postrouting", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPostrouting, Priority: 100, Rules: source},
			{Name: "forward", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward, Drop: true, Rules: forward},
			{Name: "input", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookInput, Drop: true, Rules: input},
		},
	}
}
