package node

import (
	"testing"
	"time"
	"unsafe"
)

// A record's time is looked at once, and no further away than it can be.
func TestReckoned(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var r reckoned
	for _, c := range []struct {
		told, now string // from midnight on
		want      string
	}{
		{"1m", "0s", "1m"},     // as it is told
		{"1m", "30s", "1m"},    // and stays so
		{"1m", "-10h", "1m"},   // whatever time it is then
		{"9h", "0s", "5m"},     // another, which cannot be so late
		{"-9h", "1h", "58m"},   // nor so early
		{"-9h", "100h", "58m"}, // and stays so
	} {
		at := func(s string) time.Time {
			d, err := time.ParseDuration(s)
			if err != nil {
				t.Fatal(err)
			}
			return now.Add(d)
		}
		if got := r.of(at(c.told), at(c.now), -2*time.Minute, 5*time.Minute); !got.Equal(at(c.want)) {
			t.Errorf("%s at %s is %v, want %s", c.told, c.now, got.Sub(now), c.want)
		}
	}
}

// A session is surely alive only while both clocks say so: that of the wall may have been
// set back, and the monotonic one stands still while the machine sleeps.
func TestSurelyLeft(t *testing.T) {
	now := time.Now()
	until := now.Add(time.Minute)
	if left := surelyLeft(until, now.Add(20*time.Second)); left != 40*time.Second {
		t.Errorf("%v left", left)
	}
	if left := surelyLeft(until.Round(0), now.Add(20*time.Second)); left != 40*time.Second {
		t.Errorf("%v left without a monotonic reading", left)
	}
	// It was set back by an hour, and a minute is over.
	if left := surelyLeft(until, shifted(now.Add(2*time.Minute), -time.Hour)); left > 0 {
		t.Errorf("%v left although only the clock on the wall says so", left)
	}
	// It slept for an hour.
	if left := surelyLeft(until, shifted(now.Add(time.Second), time.Hour)); left > 0 {
		t.Errorf("%v left although only the monotonic clock says so", left)
	}
}

// shifted is a time on a wall whose clock was set. There is no other way to have one but
// to set the machine's.
func shifted(t time.Time, forwards time.Duration) time.Time {
	t = t.Add(forwards)
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).ext -= int64(forwards)
	return t
}
