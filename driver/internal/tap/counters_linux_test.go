package tap

import (
	"strings"
	"testing"
)

func TestParseCounters(t *testing.T) {
	table := []byte(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  tap1: 7000 9 0 0 0 0 0 0 8000 10 0 0 0 0 0 0
 tap10:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
`)
	for name, want := range map[string][2]int64{"tap1": {7000, 8000}, "tap10": {1, 9}} {
		if in, out, err := parseCounters(table, name); err != nil || in != want[0] || out != want[1] {
			t.Errorf("%s: %d, %d, %v", name, in, out, err)
		}
	}
	for _, name := range []string{"tap", "tap2", "", " face "} {
		if _, _, err := parseCounters(table, name); err == nil {
			t.Errorf("found %q", name)
		}
	}
}

// Whatever the table says, who is not in it has no counters.
func FuzzCounters(f *testing.F) {
	f.Add("  tap0: 1 2 3 4 5 6 7 8 9\n")
	f.Add("\n \x00")
	f.Fuzz(func(t *testing.T, table string) {
		if in, out, err := parseCounters([]byte(table), "tap0"); err == nil && !strings.Contains(table, "tap0") {
			t.Errorf("%q: %d, %d", table, in, out)
		}
	})
}
