package dhcpd

import "encoding/binary"

// Sizes in bytes, and where things are in an Ethernet frame that carries DHCP in
// an IPv4 header without options; a request's IP header may be longer.
const (
	ethernetLen = 14
	ipLen       = 20
	udpLen      = 8
	headerLen   = ethernetLen + ipLen + udpLen
	bootpLen    = 236          // the fixed part of a message
	optionsAt   = bootpLen + 4 // options follow the magic cookie
	minMessage  = 300          // BOOTP relays and clients may drop shorter ones
	minPacket   = 576          // IP packet that every client must accept
	maxPacket   = 1500         // IP packet that Ethernet carries
	magicCookie = 0x63825363   // of DHCP among BOOTP messages
	allOnes     = "\xff\xff\xff\xff"
	serverPort  = 67
	clientPort  = 68
)

// Message types of option 53.
const (
	discover = 1
	offer    = 2
	demand   = 3 // DHCPREQUEST, in a package where every message is a request
	decline  = 4
	ack      = 5
	nak      = 6
	release  = 7
	inform   = 8
)

// request is what matters of a client's message. Its slices point into the frame.
type request struct {
	message   []byte // from the op code on
	source    [6]byte
	kind      byte
	ciaddr    [4]byte
	requested [4]byte // zero where absent
	server    [4]byte // zero where absent
	params    []byte  // nil where absent
	clientID  []byte  // nil where absent
	maxSize   int     // 0 where absent
}

var zeroAddr [4]byte

func (r *request) chaddr() [6]byte { return [6]byte(r.message[28:34]) }

func (r *request) wantsBroadcast() bool { return r.message[10]&0x80 != 0 }

// parse reads a frame from an untrusted client. It returns NotDHCP for
// anything that is not a well-formed DHCP request, Elsewhere for a request sent
// to another host, and else 0.
func (t *Table) parse(frame []byte, r *request) Verdict {
	datagram, verdict := t.datagram(frame)
	if verdict != 0 {
		return verdict
	}
	m := datagram
	if len(m) < optionsAt || binary.BigEndian.Uint32(m[bootpLen:]) != magicCookie {
		return NotDHCP
	}
	// op is BOOTREQUEST; hardware is Ethernet; not relayed.
	if m[0] != 1 || m[1] != 1 || m[2] != 6 || [4]byte(m[24:28]) != zeroAddr {
		return NotDHCP
	}
	r.message = m
	r.source = [6]byte(frame[6:12])
	r.ciaddr = [4]byte(m[12:16])
	if !r.parseOptions(m[optionsAt:]) {
		return NotDHCP
	}
	return 0
}

// datagram returns the payload of a frame that holds a UDP datagram for our port.
// The UDP checksum is not looked at: with checksum offload, what comes from a
// guest on the same host has none yet.
func (t *Table) datagram(frame []byte) ([]byte, Verdict) {
	if len(frame) < headerLen || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return nil, NotDHCP
	}
	packet := frame[ethernetLen:]
	header, total := int(packet[0]&0x0f)*4, int(binary.BigEndian.Uint16(packet[2:]))
	switch {
	case packet[0]>>4 != 4, header < ipLen, total < header+udpLen, total > len(packet):
		return nil, NotDHCP
	case binary.BigEndian.Uint16(packet[6:])&0x3fff != 0: // a fragment
		return nil, NotDHCP
	case packet[9] != 17, sum(0, packet[:header]) != 0xffff:
		return nil, NotDHCP
	}
	udp := packet[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != serverPort || length < udpLen || length > len(udp) {
		return nil, NotDHCP
	}
	if to := [6]byte(frame[:6]); to != t.routerMAC && to != [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} {
		return nil, Elsewhere
	}
	if to := [4]byte(packet[16:20]); to != t.router && to != t.broadcast && string(to[:]) != allOnes {
		return nil, Elsewhere
	}
	return udp[udpLen:length], 0
}

// parseOptions reads the options and reports whether they are well formed: none
// cut short, none of those that matter twice or of a wrong length. A missing end
// marker is forgiven.
func (r *request) parseOptions(b []byte) bool {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return false
		}
		code, value := b[0], b[2:2+int(b[1])]
		b = b[2+len(value):]
		if !r.setOption(code, value) {
			return false
		}
	}
	return r.kind != 0
}

func (r *request) setOption(code byte, value []byte) bool {
	switch code {
	case optMessageType:
		if len(value) != 1 || r.kind != 0 {
			return false
		}
		r.kind = value[0]
	case optRequestedIP:
		return setAddr(&r.requested, value)
	case optServerID:
		return setAddr(&r.server, value)
	case optParameters:
		if len(value) == 0 || r.params != nil {
			return false
		}
		r.params = value
	case optClientID:
		if len(value) < 2 || r.clientID != nil {
			return false
		}
		r.clientID = value
	case optMaxSize:
		if len(value) != 2 {
			return false
		}
		r.maxSize = int(binary.BigEndian.Uint16(value))
	}
	return true
}

func setAddr(a *[4]byte, value []byte) bool {
	if len(value) != 4 || *a != zeroAddr {
		return false
	}
	*a = [4]byte(value)
	return true
}
