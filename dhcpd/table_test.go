package dhcpd

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestNewTableRefuses(t *testing.T) {
	addr := netip.MustParseAddr
	for name, c := range map[string]struct {
		change func(*Network, *[]Lease)
		want   string // part of the error
	}{
		"no prefix":            {func(n *Network, _ *[]Lease) { n.Prefix = netip.Prefix{} }, "prefix"},
		"IPv6 prefix":          {func(n *Network, _ *[]Lease) { n.Prefix = netip.MustParsePrefix("fd00::/64") }, "prefix"},
		"tiny prefix":          {func(n *Network, _ *[]Lease) { n.Prefix = netip.MustParsePrefix("10.1.2.0/31") }, "/30"},
		"no router":            {func(n *Network, _ *[]Lease) { n.Router = netip.Addr{} }, "router"},
		"router outside":       {func(n *Network, _ *[]Lease) { n.Router = addr("10.1.3.1") }, "router 10.1.3.1"},
		"router is network":    {func(n *Network, _ *[]Lease) { n.Router = addr("10.1.2.0") }, "router"},
		"no router MAC":        {func(n *Network, _ *[]Lease) { n.RouterMAC = nil }, "router MAC"},
		"zero router MAC":      {func(n *Network, _ *[]Lease) { n.RouterMAC = make(net.HardwareAddr, 6) }, "router MAC"},
		"IPv6 DNS":             {func(n *Network, _ *[]Lease) { n.DNS[1] = addr("fd00::1") }, "fd00::1"},
		"too many DNS":         {func(n *Network, _ *[]Lease) { n.DNS = make([]netip.Addr, 17) }, "17 DNS"},
		"long domain":          {func(n *Network, _ *[]Lease) { n.Domain = strings.Repeat("x", 254) }, "domain"},
		"MTU too small":        {func(n *Network, _ *[]Lease) { n.MTU = 67 }, "MTU 67"},
		"MTU too large":        {func(n *Network, _ *[]Lease) { n.MTU = 65536 }, "MTU 65536"},
		"negative lease time":  {func(n *Network, _ *[]Lease) { n.LeaseTime = -time.Hour }, "lease time"},
		"short lease time":     {func(n *Network, _ *[]Lease) { n.LeaseTime = 7 * time.Second }, "lease time 7s"},
		"fraction of a second": {func(n *Network, _ *[]Lease) { n.LeaseTime = 10500 * time.Millisecond }, "lease time"},
		"endless lease time":   {func(n *Network, _ *[]Lease) { n.LeaseTime = (1<<32 - 1) * time.Second }, "lease time"},
		"IPv6 route":           {func(n *Network, _ *[]Lease) { n.Routes = []Route{{netip.MustParsePrefix("::/0"), router}} }, "route"},
		"too many routes": {func(n *Network, _ *[]Lease) {
			for i := range 40 {
				n.Routes = append(n.Routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24), router})
			}
		}, "40 routes"},
		"lease without MAC":    {func(_ *Network, l *[]Lease) { (*l)[0].MAC = nil }, "10.1.2.10"},
		"multicast MAC":        {func(_ *Network, l *[]Lease) { (*l)[0].MAC = mac("01:00:5e:00:00:01") }, "01:00:5e"},
		"address outside":      {func(_ *Network, l *[]Lease) { (*l)[0].Addr = addr("10.1.3.5") }, "10.1.3.5"},
		"broadcast address":    {func(_ *Network, l *[]Lease) { (*l)[0].Addr = addr("10.1.2.255") }, "10.1.2.255"},
		"the router's address": {func(_ *Network, l *[]Lease) { (*l)[0].Addr = router }, "is the router's"},
		"address twice":        {func(_ *Network, l *[]Lease) { (*l)[1].Addr = (*l)[0].Addr }, "also leased to 02:00:00:00:00:0a"},
		"MAC twice":            {func(_ *Network, l *[]Lease) { (*l)[1].MAC = (*l)[0].MAC }, "both 10.1.2.10 and 10.1.2.11"},
		"two bad leases":       {func(_ *Network, l *[]Lease) { (*l)[0].MAC, (*l)[1].Addr = nil, router }, "is the router's"},
	} {
		n, leases := testNetwork(), testLeases()
		c.change(&n, &leases)
		_, err := NewTable(n, leases)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want ErrInvalid and %q", name, err, c.want)
		}
	}
}

func TestLookup(t *testing.T) {
	table := mustTable(t, testNetwork(), testLeases())
	if table.Len() != 2 {
		t.Errorf("Len %d", table.Len())
	}
	if l, ok := table.Lookup(guestMAC); !ok || l.Addr != guest || l.Hostname != "web-1" {
		t.Errorf("guest: %+v %v", l, ok)
	}
	if l, ok := table.Lookup(otherMAC); !ok || l.Hostname != "" {
		t.Errorf("a lease whose name cannot be sent: %+v %v", l, ok)
	}
	for _, unknown := range []net.HardwareAddr{nil, routerMAC, guestMAC[:5], append(guestMAC[:6:6], 0, 0)} {
		if l, ok := table.Lookup(unknown); ok {
			t.Errorf("%v: %+v", unknown, l)
		}
	}
}

func TestHostname(t *testing.T) {
	for name, want := range map[string]bool{
		"web": true, "web-1": true, "a_b": true, "Web.example": true, "7": true, strings.Repeat("x", 253): true,
		"": false, "-x": false, ".x": false, "a b": false, "a;b": false, "ü": false, "$(x)": false, "a\n": false,
		strings.Repeat("x", 254): false,
	} {
		if got := hostname(name); got != "" != want || got != "" && got != name {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.1.2.0/24": "10.1.2.255", "10.1.2.77/30": "10.1.2.79", "10.0.0.0/8": "10.255.255.255", "0.0.0.0/0": "255.255.255.255",
	} {
		if got := broadcast(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("%s: %v, want %s", prefix, got, want)
		}
	}
}
