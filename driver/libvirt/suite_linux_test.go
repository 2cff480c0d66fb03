package libvirt_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
)

func TestMain(m *testing.M) {
	libvirttest.Main()
	os.Exit(m.Run())
}

// config has short limits, so that a hung emulator does not cost the suite much.
func config(virt *libvirttest.Host, dir string) libvirt.Config {
	return libvirt.Config{
		Dir: filepath.Join(dir, "registry"), Socket: virt.Socket,
		Timeout: 5 * time.Second, Every: 100 * time.Millisecond,
	}
}

// TestSuite has one libvirtd for all hosts, each of which starts without machines.
func TestSuite(t *testing.T) {
	virt := libvirttest.Start(t)
	pc.Suite(t, func(t *testing.T) string { return newDir(t, virt) }, func(t *testing.T, dir string) driver.Hypervisor {
		t.Helper()
		h, err := libvirt.New(t.Context(), config(virt, dir))
		if err != nil {
			t.Fatal(err)
		}
		return h
	})
}
