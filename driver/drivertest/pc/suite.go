//go:build unix

package pc

import (
	"sync"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest"
)

// Suite runs drivertest's suite. newDir makes the directory of a host without
// machines, open opens a driver over the host with that directory.
func Suite(t *testing.T, newDir func(*testing.T) string, open func(t *testing.T, dir string) driver.Hypervisor) {
	all := hosts{open: open, dir: map[driver.Hypervisor]string{}}
	drivertest.Run(t, drivertest.Config{
		New:    func(t *testing.T) driver.Hypervisor { return all.new(t, newDir(t)) },
		Reopen: func(t *testing.T, h driver.Hypervisor) driver.Hypervisor { return all.new(t, all.of(h)) },
		Spec: func(t *testing.T, h driver.Hypervisor, n int) driver.Spec {
			return WithDisks(t, Spec(all.of(h), n))
		},
		Banner:  Banner,
		Content: Content,
		Crash:   signal(syscall.SIGKILL),
		Hang:    signal(syscall.SIGSTOP),
		Guest: &drivertest.Guest{
			Spec:   func(t *testing.T, h driver.Hypervisor, n int) driver.Spec { return Guest(t, all.of(h), n) },
			Prompt: Prompt, PowerOff: "\npoweroff -f\n", Restart: "\nreboot -f\n",
		},
	})
}

// signal does something to a machine's emulator.
func signal(sig syscall.Signal) func(*testing.T, driver.Hypervisor, driver.Status) {
	return func(t *testing.T, _ driver.Hypervisor, s driver.Status) {
		t.Helper()
		if s.PID == 0 {
			t.Fatalf("no process: %+v", s)
		}
		if err := syscall.Kill(s.PID, sig); err != nil {
			t.Fatal(err)
		}
	}
}

// hosts remembers the directory that each driver under test has for its host.
type hosts struct {
	open func(*testing.T, string) driver.Hypervisor

	mu  sync.Mutex
	dir map[driver.Hypervisor]string
}

func (s *hosts) of(h driver.Hypervisor) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dir[h]
}

func (s *hosts) new(t *testing.T, dir string) driver.Hypervisor {
	t.Helper()
	h := s.open(t, dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dir[h] = dir
	return h
}
