package dhcpd

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// The tests' own view of the wire: requests are made and replies read by the
// codec, and headers and checksums by code that shares nothing with the package.

var (
	routerMAC = mac("02:00:00:00:00:01")
	guestMAC  = mac("02:00:00:00:00:0a")
	otherMAC  = mac("02:00:00:00:00:0b")
	allMACs   = mac("ff:ff:ff:ff:ff:ff")
	router    = netip.MustParseAddr("10.1.2.1")
	guest     = netip.MustParseAddr("10.1.2.10")
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func testNetwork() Network {
	return Network{
		Prefix: netip.MustParsePrefix("10.1.2.0/24"), Router: router, RouterMAC: routerMAC,
		DNS:    []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
		Domain: "cloud.example", MTU: 1450,
	}
}

func testLeases() []Lease {
	return []Lease{
		{MAC: guestMAC, Addr: guest, Hostname: "web-1"},
		{MAC: otherMAC, Addr: netip.MustParseAddr("10.1.2.11"), Hostname: "not a host name"},
	}
}

func mustTable(t testing.TB, n Network, leases []Lease) *Table {
	t.Helper()
	table, err := NewTable(n, leases)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// datagram is a UDP datagram in an Ethernet frame.
type datagram struct {
	From, To net.HardwareAddr
	Src, Dst netip.AddrPort
	Payload  []byte
}

// fromClient is how a client without an address sends m.
func fromClient(m *dhcpv4.DHCPv4) datagram {
	return datagram{
		From: m.ClientHWAddr, To: allMACs,
		Src: netip.MustParseAddrPort("0.0.0.0:68"), Dst: netip.MustParseAddrPort("255.255.255.255:67"),
		Payload: m.ToBytes(),
	}
}

// fromBound is how a client with an address sends m to its server.
func fromBound(m *dhcpv4.DHCPv4, addr netip.Addr) datagram {
	d := fromClient(m)
	d.To, d.Src, d.Dst = routerMAC, netip.AddrPortFrom(addr, 68), netip.AddrPortFrom(router, 67)
	return d
}

func (d datagram) frame() []byte {
	udp := append(binary.BigEndian.AppendUint16(nil, d.Src.Port()), 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(udp[2:], d.Dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(d.Payload)))
	udp = append(udp, d.Payload...)
	src, dst := d.Src.Addr().As4(), d.Dst.Addr().As4()
	head := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0}
	head = append(append(head, src[:]...), dst[:]...)
	binary.BigEndian.PutUint16(head[2:], uint16(20+len(udp)))
	binary.BigEndian.PutUint16(head[10:], ^slowSum(head))
	frame := append(append([]byte{}, d.To...), d.From...)
	return append(append(append(frame, 8, 0), head...), udp...)
}

// readFrame is the inverse of frame and checks both checksums.
func readFrame(b []byte) (d datagram, err error) {
	if len(b) < 42 || b[12] != 8 || b[13] != 0 || b[14] != 0x45 || b[23] != 17 {
		return d, fmt.Errorf("not UDP over IPv4: % x", b[:min(len(b), 42)])
	}
	head, udp := b[14:34], b[34:]
	if total := int(binary.BigEndian.Uint16(head[2:])); total != len(b)-14 {
		return d, fmt.Errorf("IP length %d in a frame of %d bytes", total, len(b))
	}
	if length := int(binary.BigEndian.Uint16(udp[4:])); length != len(udp) {
		return d, fmt.Errorf("UDP length %d, have %d", length, len(udp))
	}
	if s := slowSum(head); s != 0xffff {
		return d, fmt.Errorf("IP checksum: sum %#x", s)
	}
	pseudo := append(append([]byte{}, head[12:20]...), 0, 17, udp[4], udp[5])
	if s := slowSum(append(pseudo, udp...)); s != 0xffff || udp[6]|udp[7] == 0 {
		return d, fmt.Errorf("UDP checksum %x: sum %#x", udp[6:8], s)
	}
	addr := func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
	return datagram{
		To: b[0:6], From: b[6:12],
		Src:     netip.AddrPortFrom(addr(head[12:]), binary.BigEndian.Uint16(udp[0:])),
		Dst:     netip.AddrPortFrom(addr(head[16:]), binary.BigEndian.Uint16(udp[2:])),
		Payload: udp[8:],
	}, nil
}

// slowSum is the Internet checksum as RFC 1071 tells it.
func slowSum(b []byte) uint16 {
	var acc uint32
	for i, c := range b {
		if i%2 == 0 {
			acc += uint32(c) << 8
		} else {
			acc += uint32(c)
		}
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}

// message is a client's message with a fixed transaction and what most clients ask for.
func message(kind dhcpv4.MessageType, from net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithHwAddr(from),
		dhcpv4.WithTransactionID(dhcpv4.TransactionID{0xc0, 0xff, 0xee, 0x01}),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter,
			dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionHostName),
	}, mods...)...)
	if err != nil {
		panic(err)
	}
	return m
}

func withRequested(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func withServer(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}

func withClientIP(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }

// withParams replaces the parameter request list; none removes it.
func withParams(codes ...dhcpv4.OptionCode) dhcpv4.Modifier {
	return func(m *dhcpv4.DHCPv4) {
		m.Options.Del(dhcpv4.OptionParameterRequestList)
		if len(codes) > 0 {
			m.UpdateOption(dhcpv4.OptParameterRequestList(codes...))
		}
	}
}
