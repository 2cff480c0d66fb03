package dhcpd

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var update = flag.Bool("update", false, "rewrite testdata")

// exchange is a frame and what must become of it. What a reply holds in full is
// in the golden file of the same name.
type exchange struct {
	name    string
	request datagram
	want    Verdict
	kind    dhcpv4.MessageType // of the reply
	change  func(*Network)     // of testNetwork; may be nil
}

func exchanges() []exchange {
	const none = dhcpv4.MessageTypeNone
	msg := message
	isolated := func(n *Network) { n.Isolated, n.DNS, n.Domain, n.MTU = true, nil, "", 0 }
	routed := func(n *Network) {
		n.Routes = []Route{{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParseAddr("10.1.2.2")}}
	}
	withAddr := func(m *dhcpv4.DHCPv4) datagram { return fromBound(m, guest) }
	to := func(d datagram, dst string) datagram { d.Dst = netip.MustParseAddrPort(dst); return d }
	spoofed := fromClient(msg(dhcpv4.MessageTypeDiscover, guestMAC))
	spoofed.From = otherMAC
	astray := withAddr(msg(dhcpv4.MessageTypeRequest, guestMAC, withClientIP("10.1.2.10")))
	astray.To = otherMAC
	const disc, req, offer, ack, nak = dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak
	return []exchange{
		{"discover", fromClient(msg(disc, guestMAC)), Offered, offer, nil},
		{"discover broadcast", fromClient(msg(disc, guestMAC, dhcpv4.WithBroadcast(true))), Offered, offer, nil},
		{"discover wishing another address", fromClient(msg(disc, guestMAC, withRequested("10.1.2.77"))), Offered, offer, nil},
		{"discover without a list", fromClient(msg(disc, guestMAC, withParams())), Offered, offer, nil},
		{"discover with client id", fromClient(msg(disc, guestMAC, dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte("\xff1234"))))), Offered, offer, nil},
		{"discover without a usable name", fromClient(msg(disc, otherMAC, withParams())), Offered, offer, nil},
		{"discover isolated", fromClient(msg(disc, guestMAC)), Offered, offer, isolated},
		{"discover routes", fromClient(msg(disc, guestMAC, withParams(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter))), Offered, offer, routed},
		{"discover isolated routes", fromClient(msg(disc, guestMAC, withParams())), Offered, offer, func(n *Network) { isolated(n); routed(n) }},
		{"discover unknown client", fromClient(msg(disc, mac("02:00:00:00:00:99"))), Unknown, none, nil},
		{"discover spoofed", spoofed, Spoofed, none, nil},
		{"discover relayed", fromClient(msg(disc, guestMAC, dhcpv4.WithRelay([]byte{10, 1, 2, 3}))), NotDHCP, none, nil},

		{"request selecting", fromClient(msg(req, guestMAC, withServer("10.1.2.1"), withRequested("10.1.2.10"))), Acked, ack, nil},
		{"request selecting wrong address", fromClient(msg(req, guestMAC, withServer("10.1.2.1"), withRequested("10.1.2.11"))), Refused, nak, nil},
		{"request selecting another server", fromClient(msg(req, guestMAC, withServer("10.1.2.9"), withRequested("10.1.2.10"))), Elsewhere, none, nil},
		{"request rebooting", fromClient(msg(req, guestMAC, withRequested("10.1.2.10"))), Acked, ack, nil},
		{"request rebooting wrong address", fromClient(msg(req, guestMAC, withRequested("192.168.7.7"))), Refused, nak, nil},
		{"request renewing", withAddr(msg(req, guestMAC, withClientIP("10.1.2.10"))), Acked, ack, nil},
		{"request renewing wrong address", fromBound(msg(req, guestMAC, withClientIP("10.1.2.11")), netip.MustParseAddr("10.1.2.11")), Refused, nak, nil},
		{"request rebinding", to(withAddr(msg(req, guestMAC, withClientIP("10.1.2.10"))), "255.255.255.255:67"), Acked, ack, nil},
		{"request renewing broadcast", withAddr(msg(req, guestMAC, withClientIP("10.1.2.10"), dhcpv4.WithBroadcast(true))), Acked, ack, nil},
		{"request to the directed broadcast", to(withAddr(msg(req, guestMAC, withClientIP("10.1.2.10"))), "10.1.2.255:67"), Acked, ack, nil},
		{"request for nothing", fromClient(msg(req, guestMAC)), NotDHCP, none, nil},
		{"request unknown client", fromClient(msg(req, mac("02:00:00:00:00:99"), withRequested("10.1.2.10"))), Unknown, none, nil},
		{"request to another host's address", to(withAddr(msg(req, guestMAC, withClientIP("10.1.2.10"))), "10.1.2.9:67"), Elsewhere, none, nil},
		{"request to another host's MAC", astray, Elsewhere, none, nil},

		{"inform", withAddr(msg(dhcpv4.MessageTypeInform, guestMAC, withClientIP("10.1.2.10"))), Informed, ack, nil},
		{"inform from another address", withAddr(msg(dhcpv4.MessageTypeInform, guestMAC, withClientIP("10.1.2.12"))), Elsewhere, none, nil},
		{"decline", fromClient(msg(dhcpv4.MessageTypeDecline, guestMAC, withServer("10.1.2.1"), withRequested("10.1.2.10"))), Declined, none, nil},
		{"release", withAddr(msg(dhcpv4.MessageTypeRelease, guestMAC, withServer("10.1.2.1"), withClientIP("10.1.2.10"))), Released, none, nil},
		{"a server's message", fromClient(msg(offer, guestMAC)), NotDHCP, none, nil},
		{"another port", to(fromClient(msg(disc, guestMAC)), "255.255.255.255:68"), NotDHCP, none, nil},
	}
}

func TestAppendAnswer(t *testing.T) {
	for _, c := range exchanges() {
		t.Run(c.name, func(t *testing.T) {
			n := testNetwork()
			if c.change != nil {
				c.change(&n)
			}
			request := c.request.frame()
			prefix := []byte("kept")
			out, verdict := mustTable(t, n, testLeases()).AppendAnswer(prefix, request)
			if verdict != c.want {
				t.Fatalf("verdict %v, want %v", verdict, c.want)
			}
			if !bytes.HasPrefix(out, prefix) {
				t.Fatalf("dst was not kept: % x", out[:4])
			}
			reply := out[len(prefix):]
			if c.kind == dhcpv4.MessageTypeNone {
				if len(reply) != 0 {
					t.Fatalf("a reply of %d bytes, want none", len(reply))
				}
				return
			}
			m, text := describe(t, reply)
			if m.MessageType() != c.kind {
				t.Errorf("reply is %v, want %v", m.MessageType(), c.kind)
			}
			golden(t, strings.ReplaceAll(c.name, " ", "-"), text)
		})
	}
}

// describe reads a reply and returns it as text, options in the order of the wire.
func describe(t testing.TB, reply []byte) (*dhcpv4.DHCPv4, string) {
	t.Helper()
	d, err := readFrame(reply)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.FromBytes(d.Payload)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v > %v, %v > %v, %d bytes\n%s", d.From, d.To, d.Src, d.Dst, len(reply), m.Summary())
	text += "  order on the wire: " + fmt.Sprint(codes(d.Payload)) + "\n"
	return m, text
}

// codes lists the options of a well-formed message in the order of the wire.
func codes(payload []byte) []byte {
	var list []byte
	for b := payload[240:]; len(b) > 0 && b[0] != 255; {
		list = append(list, b[0])
		b = b[2+int(b[1]):]
	}
	return list
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// A reply is at most what the client says it takes, and what must be sent fits always.
func TestReplySize(t *testing.T) {
	n := testNetwork()
	n.Domain = strings.Repeat("long.", 50)
	for len(n.DNS) < maxDNS {
		n.DNS = append(n.DNS, netip.MustParseAddr("192.0.2.99"))
	}
	for i := range 25 {
		n.Routes = append(n.Routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24), router})
	}
	long := bytes.Repeat([]byte{7}, maxClientID)
	all := withParams(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDomainName, dhcpv4.OptionHostName,
		dhcpv4.OptionInterfaceMTU, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer)
	for _, c := range []struct {
		name string
		mtu  int
		size uint16 // 0 for none
		want int    // largest IP packet
		full bool   // all options fit
	}{
		{"unsaid", 1500, 0, 576, false},
		{"nonsense", 1500, 10, 576, false},
		{"middling", 1500, 900, 900, false},
		{"large", 1500, 1500, 1500, true},
		{"beyond Ethernet", 9000, 65535, 1500, true},
		{"beyond the MTU", 1000, 1500, 1000, false},
		{"small MTU", 300, 1500, 576, false},
	} {
		for _, list := range []dhcpv4.Modifier{all, withParams()} {
			n.MTU = c.mtu
			m := message(dhcpv4.MessageTypeDiscover, guestMAC, list, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(long)))
			if c.size > 0 {
				m.UpdateOption(dhcpv4.OptMaxMessageSize(c.size))
			}
			reply, _ := mustTable(t, n, testLeases()).AppendAnswer(nil, fromClient(m).frame())
			if len(reply)-14 > c.want {
				t.Errorf("%s: IP packet of %d bytes, want at most %d", c.name, len(reply)-14, c.want)
			}
			got, _ := describe(t, reply)
			for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
				dhcpv4.OptionInterfaceMTU, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionServerIdentifier, dhcpv4.OptionClientIdentifier} {
				if !got.Options.Has(code) {
					t.Errorf("%s: no %v", c.name, code)
				}
			}
			full := got.Options.Has(dhcpv4.OptionClasslessStaticRoute) && got.Options.Has(dhcpv4.OptionDomainName) && got.Options.Has(dhcpv4.OptionHostName)
			if full != c.full {
				t.Errorf("%s: all options sent: %v, want %v", c.name, full, c.full)
			}
		}
	}
}

// What fits to the byte is sent, and with a byte less something is left out.
func TestReplySizeExact(t *testing.T) {
	n := testNetwork()
	n.Domain = strings.Repeat("long.", 50)
	table := mustTable(t, n, testLeases())
	for _, list := range []dhcpv4.Modifier{
		withParams(dhcpv4.OptionRouter, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionDomainName, dhcpv4.OptionHostName), withParams(),
	} {
		answer := func(size int) int {
			m := message(dhcpv4.MessageTypeDiscover, guestMAC, list, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(uint16(size))))
			reply, _ := table.AppendAnswer(nil, fromClient(m).frame())
			describe(t, reply)
			return len(reply) - ethernetLen
		}
		full := answer(maxPacket)
		if full <= minPacket {
			t.Fatalf("all options take %d bytes: too few for this test", full)
		}
		if got := answer(full); got != full {
			t.Errorf("%d bytes where %d fit", got, full)
		}
		if got := answer(full - 1); got >= full {
			t.Errorf("%d bytes where %d fit", got, full-1)
		}
	}
}

// A UDP checksum that comes out as zero is sent as all ones: readFrame insists.
func TestChecksumZero(t *testing.T) {
	table := mustTable(t, testNetwork(), testLeases())
	frame := fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame()
	ones := 0
	for xid := range 1 << 16 {
		binary.BigEndian.PutUint16(frame[headerLen+4:], uint16(xid))
		reply, _ := table.AppendAnswer(nil, frame)
		if _, err := readFrame(reply); err != nil {
			t.Fatalf("transaction %#x: %v", xid, err)
		}
		if binary.BigEndian.Uint16(reply[40:]) == 0xffff {
			ones++
		}
	}
	if ones == 0 {
		t.Error("no transaction had the checksum in question")
	}
}

// A list may hold anything; each option is sent once.
func TestParameterListHostile(t *testing.T) {
	list := make([]byte, 255)
	for i := range list {
		list[i] = byte(i) | 1<<(i%8)
	}
	for _, params := range [][]byte{list, bytes.Repeat([]byte{12, 26}, 127), {0, 255, 53, 54, 51, 58, 59, 61}} {
		m := message(dhcpv4.MessageTypeDiscover, guestMAC, dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, params))
		reply, verdict := mustTable(t, testNetwork(), testLeases()).AppendAnswer(nil, fromClient(m).frame())
		if verdict != Offered {
			t.Fatalf("verdict %v", verdict)
		}
		describe(t, reply)
		seen := map[byte]bool{}
		for _, code := range codes(reply[headerLen:]) {
			if seen[code] {
				t.Errorf("option %d sent twice", code)
			}
			seen[code] = true
		}
	}
}

func TestMalformed(t *testing.T) {
	table := mustTable(t, testNetwork(), testLeases())
	good := func() []byte {
		return fromClient(message(dhcpv4.MessageTypeRequest, guestMAC, withRequested("10.1.2.10"))).frame()
	}
	if _, verdict := table.AppendAnswer(nil, good()); verdict != Acked {
		t.Fatalf("the frame to be damaged is not good: %v", verdict)
	}
	fixIP := func(b []byte) {
		b[24], b[25] = 0, 0
		binary.BigEndian.PutUint16(b[24:], ^slowSum(b[14:34]))
	}
	for name, damage := range map[string]func([]byte) []byte{
		"empty":               func(b []byte) []byte { return nil },
		"ARP":                 func(b []byte) []byte { b[13] = 6; return b },
		"VLAN tag":            func(b []byte) []byte { return append(append(b[:12:12], 0x81, 0, 0, 5), b[12:]...) },
		"IP version":          func(b []byte) []byte { b[14] = 0x65; fixIP(b); return b },
		"IP header length":    func(b []byte) []byte { b[14] = 0x44; fixIP(b); return b },
		"IP header too long":  func(b []byte) []byte { b[14] = 0x4f; fixIP(b); return b },
		"IP length too long":  func(b []byte) []byte { b[16] = 0x7f; fixIP(b); return b },
		"IP length too short": func(b []byte) []byte { b[16], b[17] = 0, 27; fixIP(b); return b },
		"IP checksum":         func(b []byte) []byte { b[24] ^= 1; return b },
		"first fragment":      func(b []byte) []byte { b[20] = 0x20; fixIP(b); return b },
		"later fragment":      func(b []byte) []byte { b[21] = 9; fixIP(b); return b },
		"TCP":                 func(b []byte) []byte { b[23] = 6; fixIP(b); return b },
		"UDP length too long": func(b []byte) []byte { b[38] = 0x7f; return b },
		"UDP length too short": func(b []byte) []byte {
			b[38], b[39] = 0, 7
			return b
		},
		"BOOTP reply":        func(b []byte) []byte { b[42] = 2; return b },
		"hardware type":      func(b []byte) []byte { b[43] = 6; return b },
		"hardware length":    func(b []byte) []byte { b[44] = 16; return b },
		"cookie":             func(b []byte) []byte { b[42+236] ^= 1; return b },
		"no message type":    func(b []byte) []byte { b[42+240] = 255; return b },
		"option runs over":   func(b []byte) []byte { b[len(b)-2], b[len(b)-1] = 60, 9; fill(b); return b },
		"lone option code":   func(b []byte) []byte { b[len(b)-1] = 60; fill(b); return b },
		"message type twice": withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10, 53, 1, 3),
		"address twice":      withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10, 50, 4, 10, 1, 2, 10),
		"message type long":  withOptions(53, 2, 3, 3),
		"message type empty": withOptions(53, 0),
		"message type zero":  withOptions(53, 1, 0, 50, 4, 10, 1, 2, 10),
		"message type 200":   withOptions(53, 1, 200, 50, 4, 10, 1, 2, 10),
		"address short":      withOptions(53, 1, 3, 50, 3, 10, 1, 2),
		"server id long":     withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10, 54, 5, 10, 1, 2, 1, 1),
		"size short":         withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10, 57, 1, 9),
		"client id short":    withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10, 61, 1, 9),
		"list empty":         withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10, 55, 0),
	} {
		reply, verdict := table.AppendAnswer(nil, damage(good()))
		if verdict != NotDHCP || len(reply) != 0 {
			t.Errorf("%s: %v and %d bytes, want %v and none", name, verdict, len(reply), NotDHCP)
		}
	}
	for n := range len(good()) {
		if reply, verdict := table.AppendAnswer(nil, good()[:n]); verdict != NotDHCP || len(reply) != 0 {
			t.Fatalf("cut to %d bytes: %v", n, verdict)
		}
	}
}

// fill replaces the end marker and padding after a message's options by nothing
// but padding in front, so that what the caller wrote at the end is reached.
func fill(b []byte) {
	options := b[42+240 : len(b)-2]
	for i := 3 + 6; i < len(options); i++ {
		options[i] = 0
	}
}

// withOptions replaces a frame's options.
func withOptions(options ...byte) func([]byte) []byte {
	return func(b []byte) []byte {
		rest := b[42+240:]
		clear(rest)
		rest[copy(rest, options)] = 255
		return b
	}
}

func TestMissingEndIsForgiven(t *testing.T) {
	frame := withOptions(53, 1, 3, 50, 4, 10, 1, 2, 10)(fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame())
	frame[42+240+9] = 0
	if _, verdict := mustTable(t, testNetwork(), testLeases()).AppendAnswer(nil, frame); verdict != Acked {
		t.Errorf("verdict %v, want %v", verdict, Acked)
	}
}

func TestAppendAnswerDoesNotAllocate(t *testing.T) {
	table := mustTable(t, testNetwork(), testLeases())
	frame := fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame()
	dst := make([]byte, 0, 1514)
	if n := testing.AllocsPerRun(1000, func() { table.AppendAnswer(dst, frame) }); n != 0 {
		t.Errorf("%v allocations an answer", n)
	}
}
