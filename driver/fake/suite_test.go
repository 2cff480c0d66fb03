package fake_test

import (
	"sync"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest"
	"github.com/shakenfist/cloud/driver/fake"
)

func TestSuite(t *testing.T) {
	drivertest.Run(t, suiteConfig(func(h *fake.Hypervisor) driver.Hypervisor { return h }))
}

// suiteConfig is the suite over fake hosts, through what wrap makes of each handle.
func suiteConfig(wrap func(*fake.Hypervisor) driver.Hypervisor) drivertest.Config {
	var mu sync.Mutex
	hosts := map[driver.Hypervisor]*fake.Host{}
	open := func(host *fake.Host) driver.Hypervisor {
		mu.Lock()
		defer mu.Unlock()
		h := wrap(host.Hypervisor())
		hosts[h] = host
		return h
	}
	host := func(h driver.Hypervisor) *fake.Host {
		mu.Lock()
		defer mu.Unlock()
		return hosts[h]
	}
	machine := func(t *testing.T, h driver.Hypervisor, n int) driver.Spec {
		s := spec(n)
		s.Disks = []driver.Disk{{Device: "vda", Path: s.Dir + "/vda", Format: "qcow2", Bus: "virtio"}}
		return s
	}
	return drivertest.Config{
		New: func(t *testing.T) driver.Hypervisor {
			return open(fake.NewHost(fake.Config{Guest: func(driver.Spec) fake.Guest {
				return fake.Guest{Commands: map[string]string{"poweroff\r": "shutdown", "reboot\r": "reset"}}
			}}))
		},
		Reopen: func(t *testing.T, h driver.Hypervisor) driver.Hypervisor { return open(host(h)) },
		Spec:   machine,
		Banner: "Booting",
		Crash: func(t *testing.T, h driver.Hypervisor, s driver.Status) {
			if err := host(h).Crash(s.ID, "signal 9"); err != nil {
				t.Error(err)
			}
		},
		Guest: &drivertest.Guest{Spec: machine, Prompt: "login:", PowerOff: "poweroff\r", Restart: "reboot\r"},
	}
}
