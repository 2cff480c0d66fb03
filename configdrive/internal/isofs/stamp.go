package isofs

import (
	"fmt"
	"time"
)

// stamp is a point in time in the format's two spellings, both in UTC.
type stamp struct {
	short [7]byte  // binary, in directory records
	long  [17]byte // decimal, in volume descriptors
}

// neverStamp is the long spelling of "not specified".
var neverStamp = [17]byte([]byte("0000000000000000\x00"))

func newStamp(t time.Time) (stamp, error) {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	t = t.UTC()
	if y := t.Year(); y < 1900 || y > 2155 {
		return stamp{}, fmt.Errorf("%w: year %d, want 1900 to 2155", ErrInvalid, y)
	}
	var s stamp
	s.short = [7]byte{
		byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()),
		byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0,
	}
	copy(s.long[:], t.Format("20060102150405")+"00") // the last byte, the zone, stays 0
	return s, nil
}
