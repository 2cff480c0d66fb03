package drivertest_test

import (
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest"
	"github.com/shakenfist/cloud/driver/fake"
)

// A driver's own test is one call. What is left out here, such as Crash, leaves
// out the rules that need it.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestSuite(t *testing.T)
		drivertest.Run(t, drivertest.Config{
			New: func(t *testing.T) driver.Hypervisor { return fake.NewHost(fake.Config{}).Hypervisor() },
			Spec: func(t *testing.T, h driver.Hypervisor, n int) driver.Spec {
				return driver.Spec{
					ID: "00000000-0000-4000-8000-00000000000" + string(rune('0'+n)), Name: "m",
					CPUs: 1, MemoryMiB: 32, Dir: "/m", Video: driver.Video{Model: "none"},
				}
			},
			Banner: "Booting",
		})
	}
}
