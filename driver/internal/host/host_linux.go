// Package host tells of the machine that we run on.
package host

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// BootID names the host's current boot.
var BootID = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
})

// MemoryMiB is how much memory it has.
func MemoryMiB() (int, error) {
	var mem unix.Sysinfo_t
	if err := unix.Sysinfo(&mem); err != nil {
		return 0, fmt.Errorf("sysinfo: %w", err)
	}
	return int(uint64(mem.Totalram) * uint64(mem.Unit) >> 20), nil
}
