//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// A floating address that goes to another guest takes its conversations along: who
// has been talking to it talks to the new guest, and the old one, which may have
// been, talks as that address no more.
func TestFloatingMoves(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 2)
	float, other := netip.MustParseAddr("192.168.20.100"), netip.MustParseAddr("192.168.20.101")
	give := func(floats ...netfab.Floating) {
		t.Helper()
		n.Gateway.Floating = floats
		w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	}
	give(netfab.Floating{Outside: float, Inside: n.Ports[0].Addr})
	a, b := w.guest(f, n, 0), w.guest(f, n, 1)
	w.do(w.conn(w.internet), rt.AddRoute(outside.Prefix, hostUplink.Addr(), 2))
	name(t, a.NS, a.addr, "a")
	name(t, b.NS, b.addr, "b")
	serve(t, w.internet, far.Addr(), 7)
	caller := listenUDP(t, w.internet, "0.0.0.0:0")
	out := listenUDP(t, a.NS, "0.0.0.0:0")
	at, world := netip.AddrPortFrom(float, 7), netip.AddrPortFrom(far.Addr(), 7)
	if who := ask(caller, at, patience); who != "a" {
		t.Fatalf("%q answers at the floating address", who)
	}
	if !answered(out, world, patience) {
		t.Fatal("its guest does not get out")
	}

	steal := func() bool {
		t.Helper()
		capture := sniff(t, w.host, f.names.outside())
		out.WriteToUDPAddrPort([]byte("as before"), world)
		ping(t, a.NS, far.Addr(), 56) // takes the same way, later
		for _, p := range capture() {
			src, _ := netip.AddrFromSlice(p[26:30])
			if dst, _ := netip.AddrFromSlice(p[30:34]); src == float && dst == far.Addr() && p[23] == 17 {
				return true
			}
		}
		return false
	}
	if !steal() {
		t.Fatal("the guest's conversation is not seen: the test proves nothing")
	}
	for _, step := range []struct {
		text   string
		floats []netfab.Floating
	}{
		{"to the other guest", []netfab.Floating{{Outside: float, Inside: b.addr}}},
		{"to the other guest, and another to this", []netfab.Floating{{Outside: float, Inside: b.addr}, {Outside: other, Inside: a.addr}}},
	} {
		give(step.floats...)
		if who := ask(caller, at, patience); who != "b" {
			t.Errorf("%s: %q answers who was talking to it", step.text, who)
		}
		if steal() {
			t.Errorf("%s: the guest goes on as that address", step.text)
		}
	}
	give()
	if steal() {
		t.Error("nobody has it, and the guest goes on as it")
	}
	// What is its own goes on: a conversation over the router's address.
	out = listenUDP(t, b.NS, "0.0.0.0:0")
	if !answered(out, world, patience) {
		t.Fatal("a guest without a floating address does not get out")
	}
	give(netfab.Floating{Outside: float, Inside: a.addr})
	if !answered(out, world, patience) || ask(listenUDP(t, w.internet, "0.0.0.0:0"), at, patience) != "a" {
		t.Error("a floating address of another guest broke a conversation")
	}
}

// name answers every UDP datagram to a guest's port 7 with a name and what it was asked.
func name(t *testing.T, ns *netns.NS, addr netip.Addr, name string) {
	t.Helper()
	conn := listenUDP(t, ns, netip.AddrPortFrom(addr, 7).String())
	go func() {
		buf := make([]byte, 1<<16)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort([]byte(name+string(buf[:size])), from)
		}
	}()
}

// ask asks such a server for its name; answers to earlier questions do not count.
func ask(conn *net.UDPConn, server netip.AddrPort, wait time.Duration) string {
	question := fmt.Sprintf(", %d?", questions.Add(1))
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		conn.WriteToUDPAddrPort([]byte(question), server)
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // then ask again
		for {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			if name, ok := strings.CutSuffix(string(buf[:size]), question); ok && from == server {
				return name
			}
		}
	}
	return ""
}

var questions atomic.Int64

// Killed in the middle of taking a floating address away, the next process takes
// away the rest of it, and nothing of another's.
func TestFloatingHalfGone(t *testing.T) {
	w := newWorld(t)
	n := network(1, 2)
	kept := netfab.Floating{Outside: netip.MustParseAddr("192.168.20.100"), Inside: n.Ports[0].Addr}
	gone := netfab.Floating{Outside: netip.MustParseAddr("192.168.20.101"), Inside: n.Ports[1].Addr}
	n.Gateway.Floating = []netfab.Floating{kept, gone}
	w.apply(w.fabric(Config{}), netfab.Desired{Outside: outside, Networks: []netfab.Network{n}})
	n.Gateway.Floating = []netfab.Floating{kept}
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{n}}
	killed := w.fabric(Config{Hook: func(what string) error {
		if what == "address 192.168.20.101/32" {
			return netfab.ErrAborted
		}
		return nil
	}})
	if err := killed.Apply(context.Background(), want); !errors.Is(err, netfab.ErrAborted) {
		t.Fatalf("it was not killed: %v", err)
	}
	f := w.fabric(Config{})
	w.apply(f, want)
	o, err := f.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Networks[0].Gateway.Floating; !slices.Equal(got, n.Gateway.Floating) || len(o.OutsideDamaged) > 0 {
		t.Errorf("floating addresses %v, want %v; %s", got, n.Gateway.Floating, o)
	}
}
