package qemu

import (
	"fmt"
	"testing"
)

// FuzzProc reads what might be a process's line: a process's name, which the
// process chooses, says nothing about when it started.
func FuzzProc(f *testing.F) {
	line := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	f.Add("qemu-system-x86", "12")
	f.Add(") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 666 (", "")
	f.Add("\n \x00", ") 1 2 3 4 5 6 7 8 9\n")
	f.Fuzz(func(t *testing.T, name, broken string) {
		start, err := parseStat([]byte(fmt.Sprintf("12 (%s)%s", name, line)))
		if err != nil || start != 4711 {
			t.Errorf("%q: %d, %v", name, start, err)
		}
		parseStat([]byte(broken)) // which returns
	})
}
