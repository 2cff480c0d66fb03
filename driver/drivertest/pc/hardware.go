package pc

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
)

// Hardware is what its rules need of a driver under test.
type Hardware struct {
	Info   driver.Info
	Dir    string                                      // of the host
	Serial string                                      // of a disk, with whatever characters the driver takes
	Tap    func(t *testing.T, name string) (ns string) // makes one
	Run    func(t *testing.T, s driver.Spec)           // and stops it
}

// Each has every piece of hardware that Info offers run: it can be had, and QEMU
// takes it.
func (h Hardware) Each(t *testing.T) {
	n := 0
	try := func(name string, change func(*driver.Spec)) {
		n++
		s := Spec(h.Dir, n)
		change(&s)
		t.Run(name, func(t *testing.T) { h.Run(t, WithDisks(t, s)) })
	}
	for _, bus := range h.Info.Buses {
		try(bus, func(s *driver.Spec) {
			s.Disks[0].Bus, s.Disks[0].Serial = bus, h.Serial
			second := s.Disks[0]
			second.Device, second.Path = "xdb", second.Path+"-2"
			s.Disks = append(s.Disks, second)
		})
		try(bus+"-read-only", func(s *driver.Spec) { s.Disks[0].Bus, s.Disks[0].ReadOnly = bus, true })
		if bus != "virtio" && bus != "nvme" {
			try(bus+"-cdrom", func(s *driver.Spec) { s.Disks[0].Bus, s.Disks[0].CDROM = bus, true })
		}
	}
	for i, model := range h.Info.NICModels {
		try(model, func(s *driver.Spec) {
			tap := fmt.Sprintf("sftap%d", i)
			s.NICs = []driver.NIC{{Tap: tap, NetNS: h.Tap(t, tap), MAC: "02:00:00:00:00:01", Model: model, MTU: 1450}}
		})
	}
	for _, model := range h.Info.VideoModels {
		try("video-"+model, func(s *driver.Spec) { s.Video = driver.Video{Model: model, MemoryKiB: 16384} })
		try("video-"+model+"-own-memory", func(s *driver.Spec) { s.Video = driver.Video{Model: model} })
	}
	try("smp", func(s *driver.Spec) { s.CPUs = 3 })
	try("everything", func(s *driver.Spec) {
		for i, bus := range h.Info.Buses {
			s.Disks = append(s.Disks, driver.Disk{Device: fmt.Sprintf("d%d", i), Path: s.Disks[0].Path + bus, Format: "raw", Bus: bus})
		}
	})
	if !h.Info.UEFI {
		t.Error("no UEFI firmware (Debian package ovmf)")
	}
}

// Firmware is what a driver that has UEFI can do.
type Firmware interface {
	driver.Hypervisor
	driver.Consoler
}

// UEFI holds that a machine with UEFI runs it, and keeps variables of its own.
func UEFI(ctx context.Context, t *testing.T, h Firmware, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := WithDisks(t, Spec(dir, 1))
	s.UEFI, s.MemoryMiB = true, 128
	must(h.Create(ctx, s))
	must(h.Start(ctx, s.ID))
	Eventually(ctx, t, "UEFI to speak", func() bool {
		p := make([]byte, 1<<16)
		n, _, err := h.ConsoleLog(ctx, s.ID, 0, p)
		must(err)
		return bytes.Contains(p[:n], []byte("BdsDxe"))
	})
	if _, err := os.Stat(filepath.Join(s.Dir, "nvram.fd")); err != nil {
		t.Error(err)
	}
	must(h.Destroy(ctx, s.ID))
	if _, err := os.Stat(s.Dir); err == nil {
		t.Errorf("%s is still there", s.Dir)
	}
}

// AddLayers adds three disks to a machine: one that is read-only, one that lies under
// another, and one two files above that. What is below has the mode.
func AddLayers(t *testing.T, dir string, s *driver.Spec, mode fs.FileMode) {
	t.Helper()
	data := func(device, bus, format string) driver.Disk {
		return driver.Disk{Device: device, Path: filepath.Join(dir, device), Format: format, Bus: bus, Serial: "serial-" + device}
	}
	disks := []driver.Disk{data("vdb", "virtio", "raw"), data("sda", "scsi", "raw"), data("vdc", "virtio", "qcow2")}
	for i := range disks[:2] {
		disks[i].ReadOnly = true
		if err := os.WriteFile(disks[i].Path, bytes.Repeat([]byte(disks[i].Device+"\n"), 1<<18), mode); err != nil {
			t.Fatal(err)
		}
	}
	Image(t, "create", "-q", "-f", "qcow2", "-b", "sda", "-F", "raw", filepath.Join(dir, "middle"))
	Image(t, "create", "-q", "-f", "qcow2", "-b", "middle", "-F", "qcow2", disks[2].Path)
	s.Disks = append(s.Disks, disks...)
}

// SeesLayers holds that a guest sees the disks of AddLayers with their serials, cannot
// write to what is read-only, and reads through a chain of backing files, which are
// nobody's to change.
func SeesLayers(ctx context.Context, t *testing.T, c *guest.Console) {
	t.Helper()
	for _, command := range [][2]string{
		{"cat /sys/block/vdb/serial", "serial-vdb"},
		{"cat /sys/block/vdb/ro", "1"},
		{"head -c 4 /dev/vdb", "vdb"},
		{"head -c 4 /dev/sda", "sda"},
		{"cat /sys/block/sda/ro", "1"},
		{"head -c 4 /dev/vdc", "sda"}, // two files down
		{"echo new > /dev/vdc; sync; echo 3 > /proc/sys/vm/drop_caches; head -c 4 /dev/vdc", "new"},
		{"head -c 4 /dev/sda", "sda"},
	} {
		Says(ctx, t, c, command[0], command[1])
	}
}

// Says holds that a command prints something in a guest.
func Says(ctx context.Context, t *testing.T, c *guest.Console, command, want string) {
	t.Helper()
	out, _, err := c.Run(ctx, command)
	if err != nil || strings.TrimSpace(out) != want {
		t.Errorf("%s: %q, %v; want %q", command, out, err, want)
	}
}
