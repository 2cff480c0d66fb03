//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// OfTaps opens the namespaces, each once, in which some process of the host has a tap
// open: those that live on without a name are found so. Processes that end meanwhile, or
// that may not be asked, are passed over.
func OfTaps() (all []*NS, err error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	seen := map[uint64]bool{}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		for _, fd := range taps(pid) {
			ns, err := ofTap(pid, fd)
			if err != nil {
				continue
			}
			id, err := ns.ID()
			if err != nil || seen[id] {
				ns.Close()
				continue
			}
			seen[id] = true
			all = append(all, ns)
		}
	}
	return all, nil
}

// taps lists which descriptors of a process are of taps, or are to be.
func taps(pid int) (fds []int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, _ := os.ReadDir(dir)
	for _, o := range open {
		fd, err := strconv.Atoi(o.Name())
		if err != nil {
			continue
		}
		if to, err := os.Readlink(filepath.Join(dir, o.Name())); err == nil && to == "/dev/net/tun" {
			fds = append(fds, fd)
		}
	}
	return fds
}

// ofTap opens the namespace of the tap that a process has open.
func ofTap(pid, fd int) (*NS, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(process)
	tap, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(tap)
	ns, err := unix.IoctlRetInt(tap, unix.TUNGETDEVNETNS)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(ns)
	if !isNS(ns) {
		unix.Close(ns)
		return nil, errors.New("a tap is in something else than a network namespace")
	}
	return &NS{file: os.NewFile(uintptr(ns), "namespace of a tap")}, nil
}
