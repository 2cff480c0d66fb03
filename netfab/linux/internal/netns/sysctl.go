//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
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

// get reads a setting with as few system calls as there can be: a look at a
// network reads two dozen.
func get(s Sysctl) (string, error) {
	fd, err := unix.Open(path(s), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path(s), Err: err}
	}
	defer unix.Close(fd)
	var buf [64]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path(s), Err: err}
	}
	return strings.TrimSpace(string(buf[:n])), nil
}
