package dhcpd

import "encoding/binary"

// Verdict says what became of a frame.
type Verdict uint8

// The verdicts. Those up to Elsewhere have no reply, nor have Declined and Released.
const (
	// NotDHCP: not a well-formed DHCP request of a directly connected client.
	NotDHCP Verdict = iota + 1
	// Spoofed: the client's hardware address is not the frame's source.
	Spoofed
	// Unknown: the table has no lease for this client.
	Unknown
	// Elsewhere: meant for another server, or INFORM from an address not the client's.
	Elsewhere
	// Offered: DISCOVER, answered with the client's lease.
	Offered
	// Acked: REQUEST for the client's own address, granted.
	Acked
	// Refused: REQUEST for another address, answered with a NAK.
	Refused
	// Informed: INFORM, answered with the options and no lease.
	Informed
	// Declined: the client says that someone else uses its address.
	Declined
	// Released: the client says that it stops using its address.
	Released

	verdicts
)

var verdictNames = [verdicts]string{
	NotDHCP: "not DHCP", Spoofed: "spoofed", Unknown: "unknown client", Elsewhere: "for another server",
	Offered: "offered", Acked: "acknowledged", Refused: "refused", Informed: "informed",
	Declined: "declined", Released: "released",
}

// String returns the verdict in words.
func (v Verdict) String() string {
	if v == 0 || v >= verdicts {
		return "none"
	}
	return verdictNames[v]
}

// AppendAnswer appends to dst the Ethernet frame that answers frame, if there is
// one to give, and says what was decided. The frame may be anything: all of it is
// checked. It allocates only where dst has to grow; 1514 bytes are always enough.
func (t *Table) AppendAnswer(dst, frame []byte) ([]byte, Verdict) {
	var r request
	if verdict := t.parse(frame, &r); verdict != 0 {
		return dst, verdict
	}
	mac := r.chaddr()
	if mac != r.source {
		return dst, Spoofed
	}
	lease, ok := t.leases[mac]
	if !ok {
		return dst, Unknown
	}
	verdict := t.decide(&r, lease.addr)
	switch verdict {
	case Offered:
		dst = t.appendReply(dst, &r, offer, lease)
	case Acked, Informed:
		dst = t.appendReply(dst, &r, ack, lease)
	case Refused:
		dst = t.appendReply(dst, &r, nak, lease)
	}
	return dst, verdict
}

// decide is RFC 2131, 4.3, for a client whose address is addr.
func (t *Table) decide(r *request, addr [4]byte) Verdict {
	if r.server != zeroAddr && r.server != t.router {
		return Elsewhere
	}
	switch r.kind {
	case discover:
		return Offered
	case demand:
		// Selecting and rebooting clients state the address in an option,
		// renewing and rebinding ones in the header.
		wanted := r.requested
		if wanted == zeroAddr {
			wanted = r.ciaddr
		}
		switch wanted {
		case addr:
			return Acked
		case zeroAddr:
			return NotDHCP
		}
		return Refused
	case inform:
		if r.ciaddr != addr {
			return Elsewhere
		}
		return Informed
	case decline:
		return Declined
	case release:
		return Released
	}
	return NotDHCP
}

// appendReply appends a frame of the given message type.
func (t *Table) appendReply(dst []byte, r *request, kind byte, lease entry) []byte {
	start := len(dst)
	var head [headerLen + optionsAt]byte
	dst = append(dst, head[:]...)
	m := dst[start+headerLen:]
	copy(m, "\x02\x01\x06")          // BOOTREPLY, Ethernet
	copy(m[4:8], r.message[4:8])     // transaction
	copy(m[10:12], r.message[10:12]) // flags
	copy(m[28:34], r.message[28:34]) // hardware address
	binary.BigEndian.PutUint32(m[bootpLen:], magicCookie)
	if kind == ack {
		copy(m[12:16], r.ciaddr[:])
	}
	if kind != nak && r.kind != inform {
		copy(m[16:20], lease.addr[:])
	}

	dst = append(dst, optMessageType, 1, kind)
	dst = append(dst, t.options.serverID...)
	// The last byte is the end marker's.
	limit := start + ethernetLen + min(max(r.maxSize, minPacket), t.maxSize) - 1
	if kind != nak {
		if r.kind != inform {
			dst = append(dst, t.options.times...)
		}
		dst = t.options.appendOptions(dst, r, lease.hostname, limit-clientIDLen(r))
	}
	dst = appendClientID(dst, r)
	dst = append(dst, optEnd)
	for len(dst)-start < headerLen+minMessage {
		dst = append(dst, optPad)
	}
	t.putHeaders(dst[start:], r, kind, lease.addr)
	return dst
}

// maxClientID is the longest client identifier that a reply repeats (RFC 6842). It
// is longer than any of the defined kinds and leaves room, in the smallest reply,
// for all that must be sent.
const maxClientID = 190

func clientIDLen(r *request) int {
	if r.clientID == nil || len(r.clientID) > maxClientID {
		return 0
	}
	return 2 + len(r.clientID)
}

func appendClientID(b []byte, r *request) []byte {
	if clientIDLen(r) == 0 {
		return b
	}
	b = append(b, optClientID, byte(len(r.clientID)))
	return append(b, r.clientID...)
}
