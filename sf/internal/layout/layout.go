// Package layout decides which block devices an instance has: their names, buses
// and order in the guest. It is pure.
package layout

import (
	"fmt"

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

// idePorts is how many devices an IDE controller pair takes: hda to hdd.
const idePorts = 4

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
	return devices, fitIDE(devices)
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
