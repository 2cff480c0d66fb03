//go:build linux

package census

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// AddNetwork lists the devices and firewall rules of a network namespace, of the
// thread's own where ns is nil, under names that begin with the namespace's.
func (c Census) AddNetwork(name string, ns *os.File) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if ns != nil {
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				done <- fmt.Errorf("enter network namespace %s: %w", name, err)
				return
			}
			name += ":"
		}
		done <- errors.Join(c.addDevices(name), c.addRules(name))
	}()
	return <-done
}

func (c Census) addDevices(prefix string) error {
	devices, err := net.Interfaces()
	for _, d := range devices {
		c.add(Devices, prefix+d.Name)
	}
	return err
}

func (c Census) addRules(prefix string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("list the firewall: %w", err)
	}
	for _, chain := range chains {
		rules, err := conn.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("list the firewall: %w", err)
		}
		for _, r := range rules {
			c.add(Rules, fmt.Sprintf("%s%s/%s#%d", prefix, chain.Table.Name, chain.Name, r.Handle))
		}
	}
	return nil
}

// AddProcesses lists the processes, other than this one and the one that started it
// (`go run`, with the same arguments), that are somebody's, by what they show in /proc/PID.
func (c Census) AddProcesses(ours func(proc string) bool) error {
	us := []string{strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid())}
	found, err := filepath.Glob("/proc/[0-9]*")
	for _, p := range found {
		args, err := os.ReadFile(p + "/cmdline")
		if err != nil || slices.Contains(us, filepath.Base(p)) || !ours(p) {
			continue // it ended meanwhile, or is us, or somebody else's
		}
		program, _, _ := strings.Cut(string(args), "\x00")
		c.add(Processes, filepath.Base(program)+"["+filepath.Base(p)+"]")
	}
	return err
}

// Opens reports whether a process has a file open whose path begins like one of those.
func Opens(proc string, prefixes ...string) bool {
	links, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(target, p) })
	})
}

// AddMounts lists what is mounted below a directory, and namespaces by the names
// that they have there.
func (c Census) AddMounts(dir string) error {
	found, err := Mounted(dir)
	for _, path := range found {
		c.add(Mounts, path)
		if filepath.Base(filepath.Dir(path)) == "netns" {
			c.add(Namespaces, filepath.Base(path))
		}
	}
	return err
}

// Mounted are the mount points below a directory, once for each mount, the last
// mounted last.
func Mounted(dir string) (found []string, err error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, fields[4])
		}
	}
	return found, err
}

// AddFiles lists all files below a directory, which may be gone.
func (c Census) AddFiles(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			c.add(Files, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
