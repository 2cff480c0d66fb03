//go:build linux

package linux

import (
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/netfab/netfabtest"
)

// breaks are what people and accidents do to a network.
func (w *world) breaks() map[string]func() {
	n := netfabtest.Broken().Networks[0]
	names := newNames(suiteTag)
	path := filepath.Join(w.dir, names.namespace(n.VNI))
	tap, other := netfab.TapName(n.Ports[0].ID), netfab.TapName(n.Ports[1].ID)
	extra, _ := portElements(netfab.Port{ID: "nobody", MAC: "02:00:00:00:00:99"})
	in := func(do func(c *rt.Conn, n *nft.Conn)) func() {
		return func() {
			ns, err := netns.Open(path)
			if err != nil {
				w.t.Fatal(err)
			}
			defer ns.Close()
			w.both(ns, do)
		}
	}
	host := func(do func(c *rt.Conn, n *nft.Conn)) func() { return func() { w.both(w.host, do) } }
	links := func(requests ...rt.Request) func() {
		return in(func(c *rt.Conn, _ *nft.Conn) { w.do(c, requests...) })
	}
	on := func(device string, request func(uint32) rt.Request) func() {
		return in(func(c *rt.Conn, _ *nft.Conn) { w.do(c, request(w.index(c, device))) })
	}
	return map[string]func(){
		"a tap is deleted":         links(rt.DelLink(tap)),
		"all taps are deleted":     links(rt.DelLink(tap), rt.DelLink(other)),
		"a tap is down":            links(rt.Down(tap)),
		"a tap has another MTU":    links(rt.SetLink(rt.Link{Name: tap, MTU: 1000})),
		"a tap learns and floods":  links(rt.SetLink(rt.Link{Name: tap, Port: &rt.Port{Learning: true, Flood: true}})),
		"a tap belongs to another": links(rt.SetLink(rt.Link{Name: tap, Alias: "somebody's"})),
		"br0 is deleted":           links(rt.DelLink(bridgeName)),
		"br0 is down":              links(rt.Down(bridgeName)),
		"br0 has another MAC":      links(rt.SetLink(rt.Link{Name: bridgeName, MAC: mac("02:00:00:00:00:77")})),
		"br0 has another MTU":      links(rt.SetLink(rt.Link{Name: bridgeName, MTU: 1200})),
		"br0 has another address": on(bridgeName, func(i uint32) rt.Request {
			return rt.AddAddr(i, netip.MustParsePrefix("10.9.9.9/24"))
		}),
		"the router lost its address": on(bridgeName, func(i uint32) rt.Request {
			return rt.DelAddr(i, netip.PrefixFrom(n.Router.Addr, n.Prefix.Bits()))
		}),
		"out0 is deleted":      links(rt.DelLink(outName)),
		"out0 is down":         links(rt.Down(outName)),
		"out0 has another MAC": links(rt.SetLink(rt.Link{Name: outName, MAC: mac("02:00:00:00:00:78")})),
		"the default route leads away": on(outName, func(i uint32) rt.Request {
			return rt.SetDefault(i, netip.MustParseAddr("192.168.77.250"))
		}),
		"a floating address is gone": on(outName, func(i uint32) rt.Request {
			return rt.DelAddr(i, netip.MustParsePrefix("192.168.77.201/32"))
		}),
		"a floating address leads nowhere": in(w.empty(toInside, nftables.TableFamilyIPv4)),
		"a guest's way out is forgotten":   in(w.empty(toOutside, nftables.TableFamilyIPv4)),
		"MACs are forgotten":               in(w.empty(macSet, nftables.TableFamilyBridge)),
		"addresses are forgotten":          in(w.empty(addrSet, nftables.TableFamilyBridge)),
		"the filter lets through another": in(func(_ *rt.Conn, c *nft.Conn) {
			w.must(c.Update(filterSets(), nft.Change{Set: macSet, Add: extra}))
		}),
		"the filter has one rule more": in(func(_ *rt.Conn, c *nft.Conn) {
			table := filter(&n)
			table.Chains[0].Rules = append(slices.Clone(table.Chains[0].Rules), nft.Accept())
			w.must(c.Build(table))
		}),
		"the filter is deleted":         in(w.deleteTable(nftables.TableFamilyBridge, tableName)),
		"the router's table is deleted": in(w.deleteTable(nftables.TableFamilyIPv4, tableName)),
		"the host's table is deleted":   host(w.deleteTable(nftables.TableFamilyINet, names.table())),
		"the world may not come in": host(func(_ *rt.Conn, c *nft.Conn) {
			table := nft.Table{Family: nftables.TableFamilyINet, Name: names.table()}
			change, err := c.Match(table, floatSet, nil)
			w.must(err)
			w.must(c.Update(table, change))
		}),
		"a peer may be reached": host(func(_ *rt.Conn, c *nft.Conn) {
			table := nft.Table{Family: nftables.TableFamilyINet, Name: names.table()}
			change, err := c.Match(table, peerSet, nil)
			w.must(err)
			w.must(c.Update(table, change))
		}),
		"a fence that nobody keeps":     host(func(_ *rt.Conn, c *nft.Conn) { w.must(c.Build(fenceTable(names))) }),
		"the outside bridge is deleted": host(func(c *rt.Conn, _ *nft.Conn) { w.do(c, rt.DelLink(names.outside())) }),
		"the outside bridge is down":    host(func(c *rt.Conn, _ *nft.Conn) { w.do(c, rt.Down(names.outside())) }),
		"the outside bridge lost its address": host(func(c *rt.Conn, _ *nft.Conn) {
			o := netfabtest.Broken().Outside
			w.do(c, rt.DelAddr(w.index(c, names.outside()), netip.PrefixFrom(netfab.First(o.Prefix), o.Prefix.Bits())))
		}),
		"the outer leg is deleted": host(func(c *rt.Conn, _ *nft.Conn) { w.do(c, rt.DelLink(names.uplink(n.VNI))) }),
		"the outer leg is elsewhere": host(func(c *rt.Conn, _ *nft.Conn) {
			w.do(c, rt.SetLink(rt.Link{Name: names.uplink(n.VNI), Master: 3}))
		}),
		"forwarding is off":        w.sysctl(path, "ipv4/ip_forward", "0"),
		"IPv6 is on":               w.sysctl(path, "ipv6/conf/all/disable_ipv6", "0"),
		"the name is unmounted":    func() { w.must(unix.Unmount(path, unix.MNT_DETACH)) },
		"the namespace is deleted": func() { w.must(netns.Unmount(path)) },
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) both(ns *netns.NS, do func(*rt.Conn, *nft.Conn)) {
	w.t.Helper()
	c, err := rt.Dial(ns.Fd())
	w.must(err)
	defer c.Close()
	n, err := nft.Dial(ns.Fd(), newNames(suiteTag).mark())
	w.must(err)
	defer n.Close()
	do(c, n)
}

// empty removes all elements of a set.
func (w *world) empty(set nft.Set, family nftables.TableFamily) func(*rt.Conn, *nft.Conn) {
	return func(_ *rt.Conn, c *nft.Conn) {
		table := nft.Table{Family: family, Name: tableName}
		change, err := c.Match(table, set, nil)
		w.must(err)
		w.must(c.Update(table, change))
	}
}

func (w *world) deleteTable(family nftables.TableFamily, name string) func(*rt.Conn, *nft.Conn) {
	return func(_ *rt.Conn, c *nft.Conn) { w.must(c.Delete(family, name)) }
}

func (w *world) sysctl(path, name, value string) func() {
	return func() {
		ns, err := netns.Open(path)
		w.must(err)
		defer ns.Close()
		w.must(ns.Do(func() error { return netns.Set([]netns.Sysctl{{Path: name, Value: value}}) }))
	}
}

func (w *world) index(c *rt.Conn, name string) uint32 {
	w.t.Helper()
	l, err := c.Link(name)
	if err != nil || l.Index == 0 {
		w.t.Fatalf("link %s: %v", name, err)
	}
	return l.Index
}
