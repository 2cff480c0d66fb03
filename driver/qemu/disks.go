package qemu

import (
	"fmt"
	"strconv"

	"github.com/shakenfist/cloud/driver"
)

// Limits of the machine's chipset.
const (
	maxIDE  = 4
	maxSATA = 6
	maxPCI  = 24 // cards beside those that every machine has
)

// checkSlots returns an ErrInvalid for more devices than the machine has room for.
func checkSlots(s driver.Spec) error {
	count := map[string]int{}
	pci := len(s.NICs)
	for _, d := range s.Disks {
		count[d.Bus]++
		if d.Bus == "virtio" || d.Bus == "nvme" {
			pci++
		}
	}
	switch {
	case count["ide"] > maxIDE:
		return fmt.Errorf("%w: Disks has %d on bus ide; accepted: at most %d", driver.ErrInvalid, count["ide"], maxIDE)
	case count["sata"] > maxSATA:
		return fmt.Errorf("%w: Disks has %d on bus sata; accepted: at most %d", driver.ErrInvalid, count["sata"], maxSATA)
	case pci > maxPCI:
		return fmt.Errorf("%w: NICs and Disks need %d PCI cards; accepted: at most %d (the scsi bus takes more disks)", driver.ErrInvalid, pci, maxPCI)
	}
	return nil
}

// diskArgs gives each disk a block node with all its layers spelled out, so
// that QEMU follows no reference in an image, and a device. The guest's firmware
// tries the disks in their order.
func diskArgs(disks []driver.Disk, chains [][]layer) []string {
	var args []string
	units := map[string]int{}
	for i, d := range disks {
		if units[d.Bus] == 0 {
			args = append(args, controllerArgs(d.Bus)...)
		}
		args = append(args, "-blockdev", blockdev(d, chains[i]).String())
		for _, o := range diskDevices(d, units[d.Bus], i+1) {
			args = append(args, "-device", o.String())
		}
		units[d.Bus]++
	}
	return args
}

func node(d driver.Disk) string { return "drive-" + d.Device }

// asCDROM: IDE and SATA have no read-only disks, only CD-ROM drives.
func asCDROM(d driver.Disk) bool {
	return d.CDROM || d.ReadOnly && (d.Bus == "ide" || d.Bus == "sata")
}

func blockdev(d driver.Disk, chain []layer) object {
	top := layerNode(chain, d.CDROM || d.ReadOnly)
	top["node-name"] = node(d)
	if top["read-only"] == false {
		top["discard"] = "unmap" // what a guest trims comes back to the host
	}
	return top
}

func layerNode(chain []layer, readOnly bool) object {
	l := chain[0]
	o := object{
		"driver": l.Format, "read-only": readOnly,
		"file": object{"driver": "file", "filename": fdset(l.Set), "discard": "unmap"},
	}
	if l.Format == "qcow2" {
		o["backing"] = nil // whatever the header says
	}
	if len(chain) > 1 {
		o["backing"] = layerNode(chain[1:], true)
	}
	return o
}

func controllerArgs(bus string) []string {
	name := map[string]string{"scsi": "virtio-scsi-pci", "sata": "ich9-ahci", "usb": "qemu-xhci"}[bus]
	if name == "" {
		return nil // on the card itself, or part of the chipset
	}
	return []string{"-device", object{"driver": name, "id": bus}.String()}
}

// diskDevices returns the device of a disk, after the bridge it may need.
func diskDevices(d driver.Disk, unit, boot int) []object {
	o := object{"id": "disk-" + d.Device, "drive": node(d), "bootindex": boot}
	if d.Serial != "" {
		o["serial"] = d.Serial
	}
	kind := "hd"
	if asCDROM(d) {
		kind = "cd"
	} else if d.Bus != "nvme" {
		// A full disk stops the machine instead of breaking its file system.
		o["werror"], o["rerror"] = "stop", "report"
	}
	switch d.Bus {
	case "virtio":
		o["driver"] = "virtio-blk-pci"
	case "nvme":
		o["driver"] = "nvme"
		if d.Serial == "" {
			o["serial"] = d.Device // the standard wants one
		}
	case "scsi":
		o["driver"], o["bus"], o["scsi-id"] = "scsi-"+kind, "scsi.0", unit
	case "ide":
		o["driver"], o["bus"], o["unit"] = "ide-"+kind, "ide."+strconv.Itoa(unit/2), unit%2
	case "sata":
		o["driver"], o["bus"] = "ide-"+kind, "sata."+strconv.Itoa(unit)
	case "usb":
		bridge := "usb-" + d.Device
		o["driver"], o["bus"] = "scsi-"+kind, bridge+".0"
		return []object{{"driver": "usb-bot", "id": bridge, "bus": "usb.0"}, o}
	}
	return []object{o}
}
