package isofs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Flags of a directory record that Build does not write.
const (
	flagAssociated = 4
	flagMore       = 0x80
)

// record is a directory record as read.
type record struct {
	span
	flags       byte
	interleaved bool
	ident       []byte
	use         []byte // system use, Rock Ridge perhaps
}

// parseRecord reads the record at the beginning of b.
func parseRecord(b []byte) (record, error) {
	if len(b) < 34 || int(b[0]) < 34 || int(b[0]) > len(b) || 33+int(b[32]) > int(b[0]) || b[32] == 0 {
		return record{}, fmt.Errorf("%w: damaged directory record", ErrFormat)
	}
	b = b[:b[0]]
	end := 33 + int(b[32])
	rec := record{
		span:        span{binary.LittleEndian.Uint32(b[2:]), binary.LittleEndian.Uint32(b[10:])},
		flags:       b[25],
		interleaved: b[26] != 0 || b[27] != 0,
		ident:       b[33:end],
		use:         b[min(end+(end%2), len(b)):],
	}
	rec.sector += uint32(b[1]) // extended attributes come before the contents
	return rec, nil
}

// name is what rec is called; special says that it is neither file nor directory.
func (v *reader) name(rec record) (name string, special bool, err error) {
	if v.joliet {
		return strings.TrimSuffix(fromUCS2(rec.ident), ";1"), false, nil
	}
	plain := strings.ToLower(string(rec.ident))
	plain = strings.TrimSuffix(strings.TrimSuffix(plain, ";1"), ".")
	if !v.rockRidge {
		return plain, false, nil
	}
	err = v.entries(rec.use, func(kind string, body []byte) error {
		switch {
		case kind == "NM" && len(body) >= 1:
			name += string(body[1:])
		case kind == "PX" && len(body) >= 4:
			format := binary.LittleEndian.Uint32(body) & 0o170000
			special = format != 0o100000 && format != 0o040000
		case kind == "CL":
			return fmt.Errorf("%w: relocated directories are not supported", ErrFormat)
		}
		return nil
	})
	if name == "" {
		name = plain
	}
	return name, special, err
}

// entries calls fn for each Rock Ridge entry of a record, those in its
// continuation areas included.
func (v *reader) entries(use []byte, fn func(kind string, body []byte) error) error {
	use = use[min(v.skip, len(use)):]
	for hops := 0; ; hops++ {
		var next []byte
		for len(use) >= 4 {
			size := int(use[2])
			if size < 4 || size > len(use) {
				break // what follows is padding, or somebody else's
			}
			kind, body := string(use[:2]), use[4:size]
			use = use[size:]
			if kind == "CE" && len(body) >= 24 {
				next = body
			} else if kind == "ST" {
				break
			} else if err := fn(kind, body); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		if hops == 8 {
			return fmt.Errorf("%w: Rock Ridge entries go on and on", ErrFormat)
		}
		var err error
		le := binary.LittleEndian
		if use, err = v.read(le.Uint32(next), le.Uint32(next[8:]), le.Uint32(next[16:])); err != nil {
			return fmt.Errorf("continuation area: %w", err)
		}
	}
}

func fromUCS2(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
