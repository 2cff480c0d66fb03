//go:build linux

package linux

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
)

// Guests of two networks with one block on three hosts with jumbo frames. Those
// of a network reach each other and their router, over which no broadcast
// crosses, neither ARP nor DHCP; those of the other are in another world. The
// router moves, and everybody finds it at once.
func TestCluster(t *testing.T) {
	c := newCluster(t, 3, 9000)
	one, two := network(1, 3), network(2, 3)
	one.MTU, two.MTU = 9000-netfab.VXLANOverhead, 9000-netfab.VXLANOverhead
	two.Ports[2].Addr = netip.MustParseAddr("10.0.0.99") // which nobody has in the first
	routers := map[*netfab.Network]int{&one: 0, &two: 1}
	c.apply(same(outside), routers, &one, &two)
	guests, others := c.guests(&one), c.guests(&two)
	var captures []func() [][]byte
	for _, w := range c.hosts {
		captures = append(captures, sniff(t, w.host, underDevice))
	}
	for i, g := range guests {
		for j := range guests {
			if i != j {
				ping(t, g.NS, guests[j].addr, 8950-28)
				ping(t, others[i].NS, others[j].addr, 56)
			}
		}
		ping(t, g.NS, one.Router.Addr, 56)
		ping(t, g.NS, far.Addr(), 56)
		ping(t, others[i].NS, far.Addr(), 56)
	}
	if err := tryPing(guests[0].NS, two.Ports[2].Addr, 56, 300*time.Millisecond); err == nil {
		t.Error("a guest reached one of another network with the same block")
	}
	dhcp := listenUDP(t, guests[1].NS, "0.0.0.0:68")
	if raw, err := dhcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
	}
	for _, to := range []string{"255.255.255.255", "10.0.0.255", one.Router.Addr.String(), guests[0].addr.String()} {
		if _, err := dhcp.WriteToUDPAddrPort([]byte("a DHCP request"), netip.AddrPortFrom(netip.MustParseAddr(to), 67)); err != nil {
			t.Fatal(err)
		}
	}
	ping(t, guests[1].NS, guests[0].addr, 57) // comes after them

	routers[&one] = 2
	c.apply(same(outside), routers, &one, &two)
	for _, g := range guests {
		if err := tryPing(g.NS, one.Router.Addr, 56, patience); err != nil {
			t.Errorf("guest %v, the router that moved: %v", g.addr, err)
		}
		ping(t, g.NS, far.Addr(), 56)
	}
	crossed, asked := 0, 0
	for _, capture := range captures {
		for _, p := range capture() {
			if len(p) < 64 || p[23] != unix.IPPROTO_UDP {
				continue
			}
			crossed++
			inner := p[14+20+8+8:]
			if inner[12] == 0x08 && inner[13] == 0x06 {
				// Who takes an address over says so; who asks is answered by its own host.
				if op, same := inner[21], [4]byte(inner[28:32]) == [4]byte(inner[38:42]); op == 1 && !same && [4]byte(inner[38:42]) != two.Ports[2].Addr.As4() {
					asked++
					t.Errorf("an ARP request crossed: % x", inner[:42])
				}
				continue
			}
			if inner[23] == unix.IPPROTO_UDP && inner[36] == 0 && (inner[37] == 67 || inner[37] == 68) {
				t.Errorf("DHCP crossed: % x", inner[:42])
			}
		}
	}
	t.Logf("%d frames crossed, %d ARP requests among them", crossed, asked)
	if crossed < 30 {
		t.Errorf("only %d frames crossed: the test proves nothing", crossed)
	}
}
