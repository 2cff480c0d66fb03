package dhcpd

import "encoding/binary"

// putHeaders fills in the Ethernet, IP and UDP headers in front of a message.
func (t *Table) putHeaders(frame []byte, r *request, kind byte, addr [4]byte) {
	copy(frame[0:6], r.source[:])
	copy(frame[6:12], t.routerMAC[:])
	binary.BigEndian.PutUint16(frame[12:], 0x0800)

	packet := frame[ethernetLen:]
	packet[0] = 0x45
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	packet[6] = 0x40 // don't fragment
	packet[8] = 64   // hops
	packet[9] = 17   // UDP
	copy(packet[12:16], t.router[:])
	switch {
	case kind == nak:
		copy(packet[16:20], allOnes)
	case r.ciaddr != zeroAddr:
		copy(packet[16:20], r.ciaddr[:])
	case r.wantsBroadcast():
		copy(packet[16:20], allOnes)
	default:
		copy(packet[16:20], addr[:])
	}
	binary.BigEndian.PutUint16(packet[10:], ^sum(0, packet[:ipLen]))

	udp := packet[ipLen:]
	binary.BigEndian.PutUint16(udp[0:], serverPort)
	binary.BigEndian.PutUint16(udp[2:], clientPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	check := ^sum(17+uint64(len(udp)), packet[12:20], udp)
	if check == 0 {
		check = 0xffff // 0 would mean that there is none
	}
	binary.BigEndian.PutUint16(udp[6:], check)
}

// sum adds 16 bit big-endian words in ones' complement, the Internet checksum
// before its final inversion. All parts but the last are of even length.
func sum(acc uint64, parts ...[]byte) uint16 {
	for _, b := range parts {
		for ; len(b) >= 4; b = b[4:] {
			acc += uint64(binary.BigEndian.Uint32(b))
		}
		if len(b) >= 2 {
			acc += uint64(binary.BigEndian.Uint16(b))
			b = b[2:]
		}
		if len(b) == 1 {
			acc += uint64(b[0]) << 8
		}
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}
