package qemu

import (
	"fmt"
	"strings"
	"testing"
)

// FuzzProc reads what might be a process's line and the table of interfaces: a
// process's name, which the process chooses, says nothing about when it started.
func FuzzProc(f *testing.F) {
	line := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	f.Add("qemu-system-x86", "tap0")
	f.Add(") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 666 (", "")
	f.Add("\n \x00", "  tap0: 1 2 3 4 5 6 7 8 9\n")
	f.Fuzz(func(t *testing.T, name, table string) {
		start, err := parseStat([]byte(fmt.Sprintf("12 (%s)%s", name, line)))
		if err != nil || start != 4711 {
			t.Errorf("%q: %d, %v", name, start, err)
		}
		parseStat([]byte(table))
		if in, out, err := parseCounters([]byte(table), "tap0"); err == nil && !strings.Contains(table, "tap0") {
			t.Errorf("%q: %d, %d", table, in, out)
		}
	})
}
