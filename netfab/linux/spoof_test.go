//go:build linux

package linux

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// What a guest may send to another guest, frame by frame. After each comes a
// marker, which takes the same way: what has not arrived before it was dropped.
func TestFilter(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 3)
	n.Ports[2].Addr = netip.Addr{} // a NIC without an address
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	a, b := wire{t, w.openPort(f, n, 0)}, wire{t, w.openPort(f, n, 1)}
	bare := wire{t, w.openPort(f, n, 2)}
	me, other := n.Ports[0], n.Ports[1]
	router := n.Router
	marker := ether(broadcastMAC, me.MAC, 0x0800, udp(me.Addr, everybody, 1, 2, "MARKER"))
	settle(a, b, marker, "MARKER")
	drain(bare)

	zero := "00:00:00:00:00:00"
	good := udp(me.Addr, other.Addr, 1000, 1000, "PAYLOAD")
	for _, c := range []struct {
		name  string
		frame []byte
		pass  bool
	}{
		{"own MAC and address", ether(other.MAC, me.MAC, 0x0800, good), true},
		{"broadcast", ether(broadcastMAC, me.MAC, 0x0800, udp(me.Addr, everybody, 1000, 1000, "PAYLOAD")), true},
		{"multicast", ether("01:00:5e:00:00:fb", me.MAC, 0x0800, udp(me.Addr, netip.MustParseAddr("224.0.0.251"), 5353, 5353, "PAYLOAD")), true},
		{"ARP question", ether(broadcastMAC, me.MAC, 0x0806, arp(1, me.MAC, me.Addr, zero, other.Addr)), true},
		{"ARP answer", ether(other.MAC, me.MAC, 0x0806, arp(2, me.MAC, me.Addr, other.MAC, other.Addr)), true},
		{"ARP probe", ether(broadcastMAC, me.MAC, 0x0806, arp(1, me.MAC, nowhere, zero, me.Addr)), true},
		{"ARP announcement", ether(broadcastMAC, me.MAC, 0x0806, arp(1, me.MAC, me.Addr, zero, me.Addr)), true},

		{"another MAC", ether(other.MAC, "02:00:00:00:00:99", 0x0800, good), false},
		{"the other guest's MAC", ether(broadcastMAC, other.MAC, 0x0800, good), false},
		{"the router's MAC", ether(other.MAC, router.MAC, 0x0800, good), false},
		{"a multicast MAC as source", ether(other.MAC, "03:00:00:00:00:01", 0x0800, good), false},
		{"another address", ether(other.MAC, me.MAC, 0x0800, udp(netip.MustParseAddr("10.0.0.99"), other.Addr, 1, 1, "PAYLOAD")), false},
		{"the router's address", ether(other.MAC, me.MAC, 0x0800, udp(router.Addr, other.Addr, 1, 1, "PAYLOAD")), false},
		{"no address", ether(other.MAC, me.MAC, 0x0800, udp(nowhere, other.Addr, 1, 1, "PAYLOAD")), false},
		{"another address behind options", ether(other.MAC, me.MAC, 0x0800,
			ipv4(17, router.Addr, other.Addr, make([]byte, 8), udpHeader(1, 1, "PAYLOAD"))), false},
		{"own ARP under the other's MAC", ether(broadcastMAC, other.MAC, 0x0806, arp(1, me.MAC, me.Addr, zero, other.Addr)), false},
		{"own ARP probe under an unknown MAC", ether(broadcastMAC, "02:00:00:00:00:99", 0x0806, arp(1, me.MAC, nowhere, zero, me.Addr)), false},
		{"ARP for the router", ether(broadcastMAC, me.MAC, 0x0806, arp(2, me.MAC, router.Addr, zero, router.Addr)), false},
		{"ARP with the other's MAC inside", ether(broadcastMAC, me.MAC, 0x0806, arp(2, other.MAC, me.Addr, zero, me.Addr)), false},
		{"ARP probe with the other's MAC inside", ether(broadcastMAC, me.MAC, 0x0806, arp(1, other.MAC, nowhere, zero, me.Addr)), false},
		{"ARP probe for the other's address", ether(broadcastMAC, me.MAC, 0x0806, arp(1, me.MAC, nowhere, zero, other.Addr)), false},
		{"ARP answer for nobody", ether(broadcastMAC, me.MAC, 0x0806, arp(2, me.MAC, nowhere, zero, me.Addr)), false},
		{"ARP of another hardware", ether(broadcastMAC, me.MAC, 0x0806, append([]byte{0, 6}, arp(1, me.MAC, me.Addr, zero, other.Addr)[2:]...)), false},
		{"short ARP", ether(broadcastMAC, me.MAC, 0x0806, []byte{0, 1, 8, 0, 6, 4, 0, 1}), false},
		{"DHCP answer", ether(other.MAC, me.MAC, 0x0800, udp(me.Addr, other.Addr, 67, 68, "PAYLOAD")), false},
		{"DHCP answer as the router", ether(broadcastMAC, me.MAC, 0x0800, udp(router.Addr, everybody, 67, 68, "PAYLOAD")), false},
		{"DHCP question", ether(broadcastMAC, me.MAC, 0x0800, udp(nowhere, everybody, 68, 67, "PAYLOAD")), false},
		{"DHCP question to the other", ether(other.MAC, me.MAC, 0x0800, udp(me.Addr, other.Addr, 68, 67, "PAYLOAD")), false},
		{"IPv6", ether("33:33:00:00:00:01", me.MAC, 0x86dd, append([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, make([]byte, 40)...)), false},
		{"VLAN tag", ether(other.MAC, me.MAC, 0x8100, append([]byte{0, 5, 0x08, 0x00}, good...)), false},
		{"priority tag", ether(other.MAC, me.MAC, 0x8100, append([]byte{0, 0, 0x08, 0x00}, good...)), false},
		{"provider tag", ether(other.MAC, me.MAC, 0x88a8, append([]byte{0, 5, 0x08, 0x00}, good...)), false},
		{"two tags", ether(other.MAC, me.MAC, 0x8100, append([]byte{0, 5, 0x81, 0, 0, 6, 0x08, 0x00}, good...)), false},
		{"spanning tree", ether("01:80:c2:00:00:00", me.MAC, 38, append([]byte{0x42, 0x42, 3}, make([]byte, 43)...)), false},
		{"LLDP", ether("01:80:c2:00:00:0e", me.MAC, 0x88cc, make([]byte, 46)), false},
		{"RARP", ether(broadcastMAC, me.MAC, 0x8035, arp(3, me.MAC, nowhere, me.MAC, nowhere)), false},
		{"a DHCP answer of another version of IP", ether(other.MAC, me.MAC, 0x0800, broken(0, 0x55, udp(me.Addr, other.Addr, 67, 68, "PAYLOAD"))), false},
		{"a DHCP answer longer than its frame", ether(other.MAC, me.MAC, 0x0800, broken(2, 0x7f, udp(me.Addr, other.Addr, 67, 68, "PAYLOAD"))), false},
		{"a DHCP answer shorter than its header", ether(other.MAC, me.MAC, 0x0800, broken(3, 19, udp(me.Addr, other.Addr, 67, 68, "PAYLOAD"))), false},
		{"a header that is none", ether(other.MAC, me.MAC, 0x0800, broken(0, 0x44, udp(me.Addr, other.Addr, 1, 1, "PAYLOAD"))), false},
		{"a frame without a header's worth", ether(other.MAC, me.MAC, 0x0800, []byte{0x45}), false},
	} {
		a.send(c.frame)
		a.send(marker)
		arrived := b.until("MARKER", patience)
		switch {
		case arrived == nil:
			t.Fatalf("%s: not even the marker arrived", c.name)
		case c.pass && (len(arrived) != 2 || !bytes.Equal(arrived[0][:len(c.frame)], c.frame)):
			t.Errorf("%s was dropped", c.name)
		case !c.pass && len(arrived) != 1:
			t.Errorf("%s came through: % x", c.name, arrived[0])
		}
	}
	// The NIC without an address may say nothing but DHCP.
	bare.send(ether(other.MAC, n.Ports[2].MAC, 0x0800, udp(netip.MustParseAddr("10.0.0.12"), other.Addr, 1, 1, "PAYLOAD")))
	bare.send(ether(other.MAC, n.Ports[2].MAC, 0x0806, arp(1, n.Ports[2].MAC, netip.MustParseAddr("10.0.0.12"), zero, other.Addr)))
	bare.send(ether(broadcastMAC, n.Ports[2].MAC, 0x0806, arp(1, n.Ports[2].MAC, nowhere, zero, other.Addr)))
	a.send(marker)
	if arrived := b.until("MARKER", patience); len(arrived) != 1 {
		t.Errorf("from the NIC without an address came %d frames", len(arrived)-1)
	}
}

// broken is a packet with another byte somewhere.
func broken(at int, value byte, packet []byte) []byte {
	packet[at] = value
	return packet
}

// awaitHello sends a DHCP question until it is read: a port takes a moment to
// get up. All of them are read.
func awaitHello(t *testing.T, port wire, dhcp io.Reader, hello []byte) {
	t.Helper()
	heard := make(chan int)
	go func() {
		buf := make([]byte, 1<<16)
		n, _ := dhcp.Read(buf)
		heard <- n
	}()
	for retry := time.NewTicker(20 * time.Millisecond); ; {
		port.send(hello)
		select {
		case n := <-heard:
			retry.Stop()
			// The rest of those sent since the port is up is in front of a last one.
			last := bytes.Replace(hello, []byte("HELLO"), []byte("ENOUG"), 1)
			port.send(last)
			for buf := make([]byte, 1<<16); n > 0 && !bytes.Contains(buf[:n], []byte("ENOUG")); {
				n, _ = dhcp.Read(buf)
			}
			return
		case <-retry.C:
		case <-t.Context().Done():
			t.Fatal("no DHCP question was ever read")
		}
	}
}

// drain forgets what has arrived.
func drain(w wire) { w.until("nothing contains this", 1) }

// What guests send to a DHCP server is for Frames alone, renewals to a router
// that is elsewhere too; what Frames writes reaches the guest.
func TestFrames(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	here, away, alone := network(1, 1), network(2, 1), network(3, 1)
	away.Gateway, alone.Gateway = nil, nil
	alone.Isolated, alone.DNS = true, true
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{here, away, alone}}
	w.apply(f, want)
	for _, n := range want.Networks {
		me := n.Ports[0]
		dhcp, err := f.Frames(context.Background(), n.ID)
		if err != nil {
			t.Fatal(err)
		}
		port := wire{t, w.openPort(f, n, 0)}
		hello := ether(broadcastMAC, me.MAC, 0x0800, udp(nowhere, everybody, 68, 67, "HELLO"))
		awaitHello(t, port, dhcp, hello)
		discover := ether(broadcastMAC, me.MAC, 0x0800, udp(nowhere, everybody, 68, 67, "DISCOVER"))
		renew := ether(n.Router.MAC, me.MAC, 0x0800, udp(me.Addr, n.Router.Addr, 68, 67, "RENEW"))
		other := ether(broadcastMAC, me.MAC, 0x0800, udp(me.Addr, everybody, 68, 69, "OTHER"))
		spoofed := ether(broadcastMAC, "02:00:00:00:00:99", 0x0800, udp(nowhere, everybody, 68, 67, "SPOOFED"))
		buf := make([]byte, 1<<16)
		for _, c := range []struct {
			frame []byte
			text  string
		}{{discover, "DISCOVER"}, {renew, "RENEW"}} {
			port.send(spoofed)
			port.send(other)
			port.send(c.frame)
			size, err := dhcp.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(buf[:size], []byte(c.text)) {
				t.Errorf("read % x, want the frame with %s", buf[:size], c.text)
			}
			if got := buf[:size]; !bytes.Equal(got, c.frame) {
				t.Errorf("network %d: %s changed on its way: % x, sent % x", n.VNI, c.text, got, c.frame)
			}
		}
		offer := ether(me.MAC, n.Router.MAC, 0x0800, udp(n.Router.Addr, me.Addr, 67, 68, "OFFER"))
		var arrived [][]byte
		for end := time.Now().Add(patience); arrived == nil && time.Now().Before(end); {
			if _, err := dhcp.Write(offer); err != nil { // the bridge takes a moment to get up, too
				t.Fatal(err)
			}
			arrived = port.until("OFFER", 50*time.Millisecond)
		}
		if len(arrived) != 1 || !bytes.Equal(arrived[0], offer) {
			t.Errorf("arrived: % x, want the offer alone", arrived)
		}
		defer func() {
			if _, err := dhcp.Read(buf); err != io.EOF {
				t.Errorf("read after the network is gone: %v, want io.EOF", err)
			}
		}()
	}
	w.apply(f, netfab.Desired{})
	if _, err := f.Frames(context.Background(), here.ID); err == nil {
		t.Error("frames of a network that is gone")
	}
}
