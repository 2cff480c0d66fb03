package host_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/shakenfist/cloud/driver/internal/host"
)

func TestBootID(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	one, err := host.BootID()
	two, _ := host.BootID()
	if !uuid.MatchString(one) || one != two || err != nil {
		t.Errorf("got %q, then %q, %v", one, two, err)
	}
}

func TestMemoryMiB(t *testing.T) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var want int
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &want); err != nil {
		t.Fatal(err)
	}
	if got, err := host.MemoryMiB(); got != want>>10 || err != nil {
		t.Errorf("got %d MiB, %v; want %d", got, err, want>>10)
	}
}
