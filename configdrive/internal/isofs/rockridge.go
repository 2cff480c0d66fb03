package isofs

import "encoding/binary"

// maxRecord is the most that a directory record's length byte can say, evenly.
const maxRecord = 254

// ceSize is the size of the entry that points at an area.
const ceSize = 28

// rockRidgeTree spells names in 8.3 and adds the exact name, mode and time.
func rockRidgeTree(root *node, s stamp) *tree {
	return grow(root, naming{spell: plainNames, describe: func(e *entry, n *node) {
		self := len(e.ident) == 1 && e.ident[0] == 0
		if self && n == root {
			e.use = append(e.use, 'S', 'P', 7, 1, 0xbe, 0xef, 0)
			e.more = &area{data: extensionReference()}
		}
		name := n.name
		if self || e.ident[0] == 1 {
			name = "" // "." and ".." are known by their identifiers
		}
		e.use = append(e.use, fieldsPresent(name)...)
		e.use = append(e.use, posixAttributes(n)...)
		e.use = append(e.use, timestamps(s)...)
		if name == "" {
			return
		}
		nm := append([]byte{'N', 'M', byte(5 + len(name)), 1, 0}, name...)
		if recordSize(len(e.ident), len(e.use)+len(nm)) <= maxRecord {
			e.use = append(e.use, nm...)
		} else {
			e.more = &area{data: nm}
		}
	}})
}

// extensionReference (ER) says that Rock Ridge is in use, by the words of its
// specification, version 1.09.
func extensionReference() []byte {
	const (
		id   = "RRIP_1991A"
		desc = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		src  = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	er := []byte{'E', 'R', byte(8 + len(id) + len(desc) + len(src)), 1, byte(len(id)), byte(len(desc)), byte(len(src)), 1}
	return append(append(append(er, id...), desc...), src...)
}

// fieldsPresent (RR) tells old readers which entries follow.
func fieldsPresent(name string) []byte {
	const px, nm, tf = 0x01, 0x08, 0x80
	flags := byte(px | tf)
	if name != "" {
		flags |= nm
	}
	return []byte{'R', 'R', 5, 1, flags}
}

// posixAttributes (PX): everything is root's and readable by all, as on
// OpenStack's own drives.
func posixAttributes(n *node) []byte {
	mode, links := uint32(0o100444), uint32(1)
	if n.isDir() {
		mode, links = 0o040555, uint32(2+n.subdirs())
	}
	px := []byte{'P', 'X', 36, 1}
	for _, v := range []uint32{mode, links, 0, 0} { // …, uid, gid
		px = both32(px, v)
	}
	return px
}

// timestamps (TF) of modification, access and attribute change.
func timestamps(s stamp) []byte {
	const modify, access, attributes = 0x02, 0x04, 0x08
	tf := []byte{'T', 'F', 26, 1, modify | access | attributes}
	for range 3 {
		tf = append(tf, s.short[:]...)
	}
	return tf
}

// continuation (CE) points at a.
func (a *area) continuation() []byte {
	ce := []byte{'C', 'E', ceSize, 1}
	for _, v := range []uint32{a.sector, a.offset, uint32(len(a.data))} {
		ce = both32(ce, v)
	}
	return ce
}

// both32 and both16 append v in the format's double spelling, little endian first.
func both32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, v), v)
}

func both16(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v), v)
}
