//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Sysctl is one kernel setting, by its path below /proc/sys/net.
type Sysctl struct {
	Path, Value string
	// Optional settings may not exist (a kernel without IPv6 or br_netfilter).
	Optional bool
}

// Set writes settings of the calling thread's namespace, those that differ: call
// it inside Do.
func Set(settings []Sysctl) error {
	for _, s := range settings {
		value, err := get(s)
		if err == nil && value != s.Value {
			err = os.WriteFile(path(s), []byte(s.Value), 0)
		}
		if err != nil && !(s.Optional && errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("set net.%s to %s: %w", strings.ReplaceAll(s.Path, "/", "."), s.Value, err)
		}
	}
	return nil
}

// Differ returns "net.ipv4.ip_forward is 1" for the first setting of the calling
// thread's namespace that is not as it should be, and "" when all are.
func Differ(settings []Sysctl) (string, error) {
	for _, s := range settings {
		value, err := get(s)
		if s.Optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if value != s.Value {
			return fmt.Sprintf("net.%s is %s", strings.ReplaceAll(s.Path, "/", "."), value), nil
		}
	}
	return "", nil
}

func path(s Sysctl) string { return "/proc/sys/net/" + s.Path }

func get(s Sysctl) (string, error) {
	text, err := os.ReadFile(path(s))
	return strings.TrimSpace(string(text)), err
}
