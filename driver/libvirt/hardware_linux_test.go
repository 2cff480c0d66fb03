package libvirt_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Every piece of hardware that Info offers can be had, and QEMU takes it.
func TestHardware(t *testing.T) {
	l := newLab(t, nil)
	info, err := l.h.Info(l.ctx)
	l.must(err)
	n := 0
	try := func(name string, change func(*driver.Spec)) {
		n++
		s := spec(l.dir, n)
		change(&s)
		t.Run(name, func(t *testing.T) {
			sub := *l
			sub.T = t
			sub.run(withDisks(t, s))
			sub.must(l.h.Destroy(l.ctx, s.ID))
		})
	}
	for _, bus := range info.Buses {
		try(bus, func(s *driver.Spec) {
			s.Disks[0].Bus, s.Disks[0].Serial = bus, "s_1.-"
			second := s.Disks[0]
			second.Device, second.Path = "xdb", second.Path+"-2"
			s.Disks = append(s.Disks, second)
		})
		try(bus+"-read-only", func(s *driver.Spec) { s.Disks[0].Bus, s.Disks[0].ReadOnly = bus, true })
		if bus != "virtio" {
			try(bus+"-cdrom", func(s *driver.Spec) { s.Disks[0].Bus, s.Disks[0].CDROM = bus, true })
		}
	}
	for i, model := range info.NICModels {
		try(model, func(s *driver.Spec) {
			tap := fmt.Sprintf("sftap%d", i)
			makeTap(t, l.virt.NetNS, tap)
			s.NICs = []driver.NIC{{Tap: tap, NetNS: l.virt.NetNS, MAC: "02:00:00:00:00:01", Model: model, MTU: 1450}}
		})
	}
	for _, model := range info.VideoModels {
		try("video-"+model, func(s *driver.Spec) { s.Video = driver.Video{Model: model, MemoryKiB: 16384} })
		try("video-"+model+"-own-memory", func(s *driver.Spec) { s.Video = driver.Video{Model: model} })
	}
	try("smp", func(s *driver.Spec) { s.CPUs = 3 })
	try("everything", func(s *driver.Spec) {
		for i, bus := range info.Buses {
			s.Disks = append(s.Disks, driver.Disk{Device: fmt.Sprintf("d%d", i), Path: s.Disks[0].Path + bus, Format: "raw", Bus: bus})
		}
	})
	if !info.UEFI {
		t.Error("no UEFI firmware (Debian package ovmf)")
	}
	for _, bus := range []string{"virtio", "scsi", "ide", "sata", "usb"} {
		if !slices.Contains(info.Buses, bus) {
			t.Errorf("bus %s is not offered: %v", bus, info.Buses)
		}
	}
}

// A machine with UEFI runs it, and keeps variables of its own.
func TestUEFI(t *testing.T) {
	l := newLab(t, nil)
	s := spec(l.dir, 1)
	s.UEFI, s.MemoryMiB = true, 128
	l.run(withDisks(t, s))
	l.eventually("UEFI to speak", func() bool {
		p := make([]byte, 1<<16)
		n, _, err := l.h.ConsoleLog(l.ctx, s.ID, 0, p)
		l.must(err)
		return bytes.Contains(p[:n], []byte("BdsDxe"))
	})
	if _, err := os.Stat(filepath.Join(s.Dir, "nvram.fd")); err != nil {
		t.Error(err)
	}
	l.must(l.h.Destroy(l.ctx, s.ID))
	if _, err := os.Stat(s.Dir); err == nil {
		t.Errorf("%s is still there", s.Dir)
	}
}

// The guest sees its disks with their sizes and serials, cannot write to what is
// read-only, and reads through a chain of backing files, which are nobody's to
// change.
func TestGuestDisks(t *testing.T) {
	l := newLab(t, nil)
	s := guestSpec(t, l.dir, 1)
	data := func(device, bus, format string) driver.Disk {
		return driver.Disk{Device: device, Path: filepath.Join(l.dir, device), Format: format, Bus: bus, Serial: "serial-" + device}
	}
	s.Disks = append(s.Disks, data("vdb", "virtio", "raw"), data("sda", "scsi", "raw"), data("vdc", "virtio", "qcow2"))
	s.Disks[1].ReadOnly = true
	for _, d := range s.Disks[1:3] {
		l.must(os.WriteFile(d.Path, bytes.Repeat([]byte(d.Device+"\n"), 1<<18), 0o644))
	}
	l.qemuImg("create", "-q", "-f", "qcow2", "-b", "sda", "-F", "raw", filepath.Join(l.dir, "middle"))
	l.qemuImg("create", "-q", "-f", "qcow2", "-b", "middle", "-F", "qcow2", s.Disks[3].Path)
	s.Disks[2].ReadOnly = true // it lies under another
	l.run(s)
	c := l.console(s.ID)
	for _, tt := range []struct{ command, want string }{
		{"cat /sys/block/vdb/serial", "serial-vdb"},
		{"cat /sys/block/vdb/ro", "1"},
		{"head -c 4 /dev/vdb", "vdb"},
		{"head -c 4 /dev/sda", "sda"},
		{"cat /sys/block/sda/ro", "1"},
		{"head -c 4 /dev/vdc", "sda"}, // two files down
		{"echo new > /dev/vdc; sync; echo 3 > /proc/sys/vm/drop_caches; head -c 4 /dev/vdc", "new"},
		{"head -c 4 /dev/sda", "sda"},
	} {
		out, _, err := c.Run(l.ctx, tt.command)
		if err != nil || strings.TrimSpace(out) != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.command, out, err, tt.want)
		}
	}
}

func (l *lab) qemuImg(args ...string) {
	l.Helper()
	if out, err := exec.Command(need.Program(l.T, "qemu-img", "qemu-utils"), args...).CombinedOutput(); err != nil {
		l.Fatalf("qemu-img %v: %v: %s", args, err, out)
	}
}
