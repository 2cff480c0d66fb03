//go:build linux

package linux

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"
)

// Frames by hand: what a guest that plays by no rules sends.

var (
	broadcastMAC = "ff:ff:ff:ff:ff:ff"
	nowhere      = netip.MustParseAddr("0.0.0.0")
	everybody    = netip.MustParseAddr("255.255.255.255")
)

func ether(dst, src string, typ uint16, payload []byte) []byte {
	f := append([]byte(mac(dst)), mac(src)...)
	f = binary.BigEndian.AppendUint16(f, typ)
	return append(f, payload...)
}

// arp is an ARP packet: op 1 asks, 2 answers.
func arp(op byte, sha string, spa netip.Addr, tha string, tpa netip.Addr) []byte {
	p := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, mac(sha)...)
	p = append(p, spa.AsSlice()...)
	p = append(p, mac(tha)...)
	return append(p, tpa.AsSlice()...)
}

// ipv4 is a packet; options are multiples of 4 bytes.
func ipv4(proto byte, src, dst netip.Addr, options, payload []byte) []byte {
	h := make([]byte, 20)
	h[0] = 0x45 + byte(len(options)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(payload)))
	h[8], h[9] = 64, proto
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	h = append(h, options...)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, payload...)
}

func udp(src, dst netip.Addr, sport, dport uint16, payload string) []byte {
	return ipv4(17, src, dst, nil, udpHeader(sport, dport, payload))
}

// udpHeader leaves the checksum out, as IPv4 allows.
func udpHeader(sport, dport uint16, payload string) []byte {
	u := binary.BigEndian.AppendUint16(nil, sport)
	u = binary.BigEndian.AppendUint16(u, dport)
	u = binary.BigEndian.AppendUint16(u, uint16(8+len(payload)))
	return append(append(u, 0, 0), payload...)
}

// wire is a port seen from the guest's side, as frames.
type wire struct {
	t    *testing.T
	file *os.File
}

func (w wire) send(frame []byte) {
	w.t.Helper()
	if _, err := w.file.Write(frame); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// until returns what arrives up to and including the first frame that contains
// the marker; nil when it does not come.
func (w wire) until(marker string, wait time.Duration) [][]byte {
	var frames [][]byte
	end := time.Now().Add(wait)
	for {
		w.file.SetReadDeadline(end)
		buf := make([]byte, 1<<16)
		n, err := w.file.Read(buf)
		if err != nil {
			return nil
		}
		frames = append(frames, buf[:n])
		if bytes.Contains(buf[:n], []byte(marker)) {
			return frames
		}
	}
}

// settle sends a frame until it arrives: ports take a moment to get up.
func settle(from, to wire, frame []byte, marker string) {
	from.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		from.send(frame)
		if to.until(marker, 50*time.Millisecond) != nil {
			// Those that were on their way too.
			for to.until(marker, 20*time.Millisecond) != nil {
			}
			return
		}
	}
	from.t.Fatalf("%q never arrived", marker)
}
