// Package layout decides which block devices an instance has: their names, buses
// and order in the guest. It is pure.
package layout

import (
	"fmt"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/spec"
)

// Device is a block device to be.
type Device struct {
	Name  string // "vda"
	Bus   string
	Disk  int // index into the instance's disks; -1 for the config drive
	CDROM bool
}

// What a machine has room for, whichever driver makes it.
const (
	idePorts  = 4 // of an IDE controller pair: hda to hdd
	sataPorts = 6
	pciCards  = 20 // beside those that every machine has
)

// Devices lays out an instance's disks, the config drive second, as guests of
// the seed know them: the prefix by bus, the letter by position. images, by
// index of disk, tell which are CD-ROM images; before they are known pass nil.
func Devices(disks []spec.Disk, images []driver.Image, defaultBus string) ([]Device, error) {
	bus := func(i int) (name string, cdrom bool) {
		d := disks[i]
		name = d.Bus
		if name == "" {
			name = defaultBus
		}
		if d.Type == "cdrom" || i < len(images) && images[i].CDROM {
			return "ide", true
		}
		return name, false
	}
	first, firstCDROM := bus(0)
	drive := first
	if firstCDROM {
		drive = defaultBus
	}
	devices := []Device{
		{Name: prefix(first) + "a", Bus: first, Disk: 0, CDROM: firstCDROM},
		{Name: prefix(drive) + "b", Bus: drive, Disk: -1},
	}
	for i := 1; i < len(disks); i++ {
		name, cdrom := bus(i)
		devices = append(devices, Device{Name: prefix(name) + string(rune('b'+i)), Bus: name, Disk: i, CDROM: cdrom})
	}
	if err := fitIDE(devices); err != nil {
		return devices, err
	}
	if n := count(devices, "sata"); n > sataPorts {
		return devices, fmt.Errorf("%d devices on the SATA bus, which takes %d (the config drive counts): use bus virtio or scsi for disks", n, sataPorts)
	}
	return devices, nil
}

// FitCards says when a machine has no room for its disks and network interfaces, each of
// which may need a PCI card.
func FitCards(devices []Device, nics int) error {
	if n := count(devices, "virtio", "nvme") + nics; n > pciCards {
		return fmt.Errorf("disks on bus virtio or nvme, the config drive and network interfaces are %d PCI cards, a machine takes %d: use bus scsi for disks", n, pciCards)
	}
	return nil
}

func count(devices []Device, buses ...string) (n int) {
	for _, d := range devices {
		if slices.Contains(buses, d.Bus) {
			n++
		}
	}
	return n
}

// fitIDE moves IDE devices to letters that exist, and says when there are too many.
func fitIDE(devices []Device) error {
	used := map[string]bool{}
	for i := range devices {
		d := &devices[i]
		if d.Bus != "ide" {
			continue
		}
		for letter := 'a'; d.Name > "hdd" || used[d.Name]; letter++ {
			if letter >= 'a'+idePorts {
				return fmt.Errorf("more than %d devices on the IDE bus (CD-ROMs and the config drive count): use bus virtio, scsi or sata for disks", idePorts)
			}
			if name := "hd" + string(letter); !used[name] {
				d.Name = name
			}
		}
		used[d.Name] = true
	}
	return nil
}

func prefix(bus string) string {
	switch bus {
	case "ide":
		return "hd"
	case "virtio":
		return "vd"
	}
	return "sd"
}
