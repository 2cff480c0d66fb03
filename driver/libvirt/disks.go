package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

// Limits of the machine's chipset, of libvirt and of the kernel.
const (
	maxIDE    = 4
	maxSATA   = 6
	maxSCSI   = 256
	maxPCI    = 20  // cards beside those that every machine has
	maxSocket = 107 // bytes of a unix socket's path
)

// serialBytes are what libvirt lets into a disk's serial number.
const serialBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_. "

// awayPrefix begins the names of the taps that the driver makes.
const awayPrefix = "sfv"

// awayName is the name of a machine's n-th tap on its way.
func awayName(id string, n int) string {
	sum := sha256.Sum256([]byte(id + "/" + strconv.Itoa(n)))
	return awayPrefix + hex.EncodeToString(sum[:])[:11]
}

// checkRoom returns an ErrInvalid for what driver.Check lets pass and libvirt, or
// the machine it makes, has no room for.
func checkRoom(s driver.Spec) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", driver.ErrInvalid, fmt.Sprintf(format, args...))
	}
	count, pci := map[string]int{}, len(s.NICs)
	for i, d := range s.Disks {
		count[d.Bus]++
		if d.Bus == "virtio" {
			pci++
		}
		if strings.Trim(d.Serial, serialBytes) != "" {
			return refuse("Disks[%d].Serial is %q; accepted: letters, digits, '-', '_', '.' and blanks", i, d.Serial)
		}
	}
	for bus, most := range map[string]int{"ide": maxIDE, "sata": maxSATA, "scsi": maxSCSI} {
		if count[bus] > most {
			return refuse("Disks has %d on bus %s; accepted: at most %d", count[bus], bus, most)
		}
	}
	switch {
	case pci > maxPCI:
		return refuse("NICs and Disks need %d PCI cards; accepted: at most %d (the scsi bus takes more disks)", pci, maxPCI)
	case len(consoleSocket(s)) > maxSocket:
		return refuse("Dir is %q; accepted: at most %d bytes, for the sockets in it", s.Dir, maxSocket-len("/console.sock"))
	case slices.ContainsFunc(s.NICs, func(n driver.NIC) bool { return strings.HasPrefix(n.Tap, awayPrefix) }):
		return refuse("NICs has a tap whose name begins with %s, which is ours", awayPrefix)
	}
	return nil
}

// newDisks gives each disk a place of its own. The name that libvirt wants for it
// only has to be unique: Disk.Device is in the alias. Disks boot in their order.
func newDisks(disks []driver.Disk, chains [][]layer) []xmlDisk {
	var list []xmlDisk
	units, names := map[string]int{}, map[string]int{}
	for i, d := range disks {
		x := xmlDisk{
			Type: "file", Device: "disk", Driver: xmlDriver{Name: "qemu", Type: d.Format},
			Source: xmlFile{File: d.Path}, Serial: d.Serial,
			Target: xmlTarget{target(d.Bus, names), d.Bus}, Alias: xmlAlias{diskAlias(d.Device)},
			Boot: xmlBoot{i + 1}, Address: address(d.Bus, units[d.Bus]),
		}
		units[d.Bus]++
		if i < len(chains) {
			chain := backing(chains[i])
			x.Backing = &chain
		}
		if asCDROM(d) {
			x.Device = "cdrom"
		} else {
			// A full disk stops the machine instead of breaking its file system.
			x.Driver.ErrorPolicy, x.Driver.ReadPolicy = "stop", "report"
		}
		if d.CDROM || d.ReadOnly {
			x.ReadOnly = &empty{}
		} else {
			x.Driver.Discard = "unmap" // what a guest trims comes back to the host
		}
		list = append(list, x)
	}
	return list
}

// asCDROM: IDE and SATA have no read-only disks, only CD-ROM drives.
func asCDROM(d driver.Disk) bool {
	return d.CDROM || d.ReadOnly && (d.Bus == "ide" || d.Bus == "sata")
}

func backing(chain []layer) xmlBacking {
	if len(chain) == 0 {
		return xmlBacking{}
	}
	l, below := chain[0], backing(chain[1:])
	b := xmlBacking{Type: "file", Format: &xmlFormat{l.Format}, Source: &xmlFile{File: l.Path}, Backing: &below}
	if l.Common {
		b.Source.Label = &xmlSecurity{"dac", "no"}
	}
	return b
}

// target is the next free name of a bus: vda, hda, sda, and after sdz sdaa.
func target(bus string, names map[string]int) string {
	prefix := map[string]string{"virtio": "vd", "ide": "hd"}[bus]
	if prefix == "" {
		prefix = "sd"
	}
	n := names[prefix]
	names[prefix]++
	letters := ""
	for n++; n > 0; n = (n - 1) / 26 {
		letters = string(rune('a'+(n-1)%26)) + letters
	}
	return prefix + letters
}

// address says where on its bus a disk is; nil leaves it to libvirt.
func address(bus string, unit int) *xmlAddress {
	switch bus {
	case "ide":
		return &xmlAddress{Type: "drive", Bus: unit / 2, Unit: unit % 2}
	case "sata":
		return &xmlAddress{Type: "drive", Unit: unit}
	case "scsi":
		return &xmlAddress{Type: "drive", Target: unit}
	}
	return nil
}

func newControllers(disks []driver.Disk) []xmlController {
	list := []xmlController{{Type: "usb", Model: "none"}}
	uses := func(bus string) bool {
		return slices.ContainsFunc(disks, func(d driver.Disk) bool { return d.Bus == bus })
	}
	if uses("usb") {
		list[0].Model = "qemu-xhci"
	}
	if uses("scsi") {
		list = append(list, xmlController{Type: "scsi", Model: "virtio-scsi"})
	}
	if uses("sata") {
		list = append(list, xmlController{Type: "sata"})
	}
	return list
}
