package dhcpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// What must not be answered is not, and what comes after it is: the first frame
// to arrive is the answer to the last one sent.
func TestListenIgnores(t *testing.T) {
	l := newLab(t)
	s, _ := l.start(t, testNetwork(), testLeases())
	guest := l.raw(t)
	discover := message(dhcpv4.MessageTypeDiscover, guestMAC)
	spoofed := fromClient(message(dhcpv4.MessageTypeDiscover, otherMAC))
	spoofed.From = guestMAC
	otherPort := fromClient(discover)
	otherPort.Dst = netip.MustParseAddrPort("255.255.255.255:6767")
	fragment := fromClient(discover).frame()
	fragment[20] |= 0x20
	for _, frame := range [][]byte{
		spoofed.frame(), otherPort.frame(), fragment,
		fromClient(message(dhcpv4.MessageTypeDiscover, mac("02:00:00:00:00:99"))).frame(),
		fromClient(message(dhcpv4.MessageTypeDecline, guestMAC)).frame(),
		fromClient(discover).frame(),
	} {
		if _, err := guest.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	if m := receive(t, guest); m.MessageType() != dhcpv4.MessageTypeOffer || !bytes.Equal(m.ClientHWAddr, guestMAC) {
		t.Errorf("first answer is %v", m)
	}
	// The other port and the fragment were left to the kernel's filter.
	want := Stats{Spoofed: 1, Unknown: 1, Declined: 1, Offered: 1}
	if got := s.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

type deadliner interface {
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
}

// receive returns the next DHCP message from the server, past what else a kernel says.
func receive(t testing.TB, conn deadliner) *dhcpv4.DHCPv4 {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(safety)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, maxFrame); ; {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if n > 42 && bytes.Equal(b[6:12], routerMAC) && b[23] == 17 {
			m, _ := describe(t, b[:n])
			return m
		}
	}
}

// Guests that ask all at once, before the loop gets to run, are all answered: more
// than a socket's default buffer holds, and half of what the kernel's own queue in
// front of it (net.core.netdev_max_backlog, 1000) takes.
func TestListenBurst(t *testing.T) {
	const clients = 500
	n, leases := manyClients(clients)
	l := newLab(t)
	conn := l.listen(t)
	guest := l.raw(t)
	for i := range leases {
		if _, err := guest.Write(fromClient(message(dhcpv4.MessageTypeDiscover, leases[i].MAC)).frame()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := serve(ctx, NewServer(mustTable(t, n, leases), nil), conn)
	offered := map[string]bool{}
	for range clients {
		offered[receive(t, guest).YourIPAddr.String()] = true
	}
	if len(offered) != clients {
		t.Errorf("%d addresses offered to %d clients", len(offered), clients)
	}
	cancel()
	<-ended
}

// manyClients returns a network of n clients, numbered by MAC and address.
func manyClients(n int) (Network, []Lease) {
	network := testNetwork()
	network.Prefix, network.Router = netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("10.0.0.1")
	leases := make([]Lease, n)
	for i := range leases {
		m := net.HardwareAddr{2, 1, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(m[2:], uint32(i))
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24+1<<16+uint32(i))
		leases[i] = Lease{MAC: m, Addr: netip.AddrFrom4(a)}
	}
	return network, leases
}

// An interface that goes down and up again keeps its server; one that is removed ends it.
func TestListenInterfaceComesAndGoes(t *testing.T) {
	l := newLab(t)
	s := NewServer(mustTable(t, testNetwork(), testLeases()), nil)
	ended := serve(t.Context(), s, l.listen(t))
	guest := l.raw(t)
	discover := fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame()
	for range 2 {
		run(t, "ip", "-n", l.host, "link", "set", "br0", "down")
		run(t, "ip", "-n", l.host, "link", "set", "br0", "up")
		l.ready(t)
		if _, err := guest.Write(discover); err != nil {
			t.Fatal(err)
		}
		receive(t, guest)
	}
	run(t, "ip", "-n", l.host, "link", "del", "br0")
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(safety):
		t.Fatal("Serve goes on without an interface")
	}
}

func TestListenNoSuchInterface(t *testing.T) {
	l := newLab(t)
	for _, index := range []int{-1, 0, 12345} {
		if err := within(l.guest, func() error { _, err := Listen(index); return err }); err == nil {
			t.Errorf("listening on interface %d, which does not exist", index)
		}
	}
}
