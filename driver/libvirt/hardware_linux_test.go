package libvirt_test

import (
	"slices"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
)

// Every piece of hardware that Info offers can be had, and QEMU takes it.
func TestHardware(t *testing.T) {
	l := newLab(t, nil)
	info, err := l.h.Info(l.ctx)
	l.must(err)
	pc.Hardware{
		Info: info, Dir: l.dir, Serial: "s_1.-",
		Tap: func(t *testing.T, name string) string { makeTap(t, l.virt.NetNS, name); return l.virt.NetNS },
		Run: func(t *testing.T, s driver.Spec) {
			sub := *l
			sub.T = t
			sub.run(s)
			sub.must(l.h.Destroy(l.ctx, s.ID))
		},
	}.Each(t)
	for _, bus := range []string{"virtio", "scsi", "ide", "sata", "usb"} {
		if !slices.Contains(info.Buses, bus) {
			t.Errorf("bus %s is not offered: %v", bus, info.Buses)
		}
	}
}

func TestUEFI(t *testing.T) {
	l := newLab(t, nil)
	pc.UEFI(l.ctx, t, l.h, l.dir)
}

// The guest sees its disks, and those under them.
func TestGuestDisks(t *testing.T) {
	l := newLab(t, nil)
	s := pc.Guest(t, l.dir, 1)
	pc.AddLayers(t, l.dir, &s, 0o644)
	l.run(s)
	pc.SeesLayers(l.ctx, t, l.console(s.ID))
}
