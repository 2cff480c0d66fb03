package driver

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// Limits of a Spec, whatever the driver.
const (
	// MaxTap is the longest name of a network interface that Linux takes.
	MaxTap = 15
	// MaxSerial is the longest serial number of a disk that every bus can show.
	MaxSerial = 20
)

// Equal reports whether two Specs describe the same machine.
func (s Spec) Equal(t Spec) bool {
	return s.ID == t.ID && s.Name == t.Name && s.CPUs == t.CPUs && s.MemoryMiB == t.MemoryMiB &&
		s.Video == t.Video && s.UEFI == t.UEFI && s.Dir == t.Dir &&
		slices.Equal(s.Disks, t.Disks) && slices.Equal(s.NICs, t.NICs)
}

// Check returns why a driver that describes itself by info cannot make spec: an
// error wrapping ErrInvalid that names the field and what would be accepted, or
// nil. It looks at nothing but its arguments: that a file or a tap is missing
// is for Start to find.
func Check(spec Spec, info Info) error {
	if !isUUID(spec.ID) {
		return invalid("ID", spec.ID, "a UUID in lower case")
	}
	if spec.Name == "" || len(spec.Name) > 255 || strings.ContainsFunc(spec.Name, isControl) {
		return invalid("Name", spec.Name, "1 to 255 bytes without control characters")
	}
	if spec.CPUs < 1 || spec.CPUs > 255 {
		return invalid("CPUs", spec.CPUs, "1 to 255")
	}
	if spec.MemoryMiB < 1 || spec.MemoryMiB > 16<<20 {
		return invalid("MemoryMiB", spec.MemoryMiB, "1 MiB to 16 TiB")
	}
	if !isPath(spec.Dir) {
		return invalid("Dir", spec.Dir, "an absolute path")
	}
	if spec.UEFI && !info.UEFI {
		return invalid("UEFI", true, "false: this host has no UEFI firmware")
	}
	if err := oneOf("Video.Model", spec.Video.Model, info.VideoModels); err != nil {
		return err
	}
	if spec.Video.MemoryKiB < 0 || spec.Video.MemoryKiB > 1<<20 {
		return invalid("Video.MemoryKiB", spec.Video.MemoryKiB, "0 (the model's own) to 1 GiB")
	}
	if err := checkDisks(spec.Disks, info.Buses); err != nil {
		return err
	}
	return checkNICs(spec.NICs, info.NICModels)
}

func checkDisks(disks []Disk, buses []string) error {
	seen := map[string]bool{}
	for i, d := range disks {
		field := func(name string) string { return fmt.Sprintf("Disks[%d].%s", i, name) }
		switch {
		case !isDevice(d.Device):
			return invalid(field("Device"), d.Device, `1 to 16 lower case letters and digits, such as "vda"`)
		case seen[d.Device]:
			return invalid(field("Device"), d.Device, "a name no other disk of the machine has")
		case !isPath(d.Path):
			return invalid(field("Path"), d.Path, "an absolute path")
		case d.Format != "qcow2" && d.Format != "raw":
			return invalid(field("Format"), d.Format, "qcow2, raw")
		case len(d.Serial) > MaxSerial || strings.ContainsFunc(d.Serial, isControl):
			return invalid(field("Serial"), d.Serial, "at most 20 bytes without control characters")
		case d.CDROM && (d.Bus == "virtio" || d.Bus == "nvme"):
			return invalid(field("Bus"), d.Bus, "ide, sata, scsi or usb for a CD-ROM")
		}
		if err := oneOf(field("Bus"), d.Bus, buses); err != nil {
			return err
		}
		seen[d.Device] = true
	}
	return nil
}

func checkNICs(nics []NIC, models []string) error {
	for i, n := range nics {
		field := func(name string) string { return fmt.Sprintf("NICs[%d].%s", i, name) }
		mac, err := net.ParseMAC(n.MAC)
		switch {
		case n.Tap == "" || len(n.Tap) > MaxTap || strings.ContainsAny(n.Tap, "/ \x00%"):
			return invalid(field("Tap"), n.Tap, "an interface name of 1 to 15 bytes")
		case n.NetNS != "" && !isPath(n.NetNS):
			return invalid(field("NetNS"), n.NetNS, "an absolute path, or empty")
		case err != nil || len(mac) != 6 || mac[0]&1 != 0:
			return invalid(field("MAC"), n.MAC, "a unicast Ethernet address such as 02:00:00:ab:cd:ef")
		case n.MTU != 0 && (n.MTU < 68 || n.MTU > 65535):
			return invalid(field("MTU"), n.MTU, "0, or 68 to 65535")
		}
		if err := oneOf(field("Model"), n.Model, models); err != nil {
			return err
		}
	}
	return nil
}

func oneOf(field, value string, accepted []string) error {
	if slices.Contains(accepted, value) {
		return nil
	}
	return invalid(field, value, strings.Join(accepted, ", "))
}

func invalid(field string, value any, accepted string) error {
	return fmt.Errorf("%w: %s is %#v; accepted: %s", ErrInvalid, field, value, accepted)
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		} else if !dash && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

func isDevice(s string) bool {
	return s != "" && len(s) <= 16 && s[0] >= 'a' && s[0] <= 'z' &&
		!strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') })
}

// isPath is about the host's paths, which are Linux's wherever this runs.
func isPath(s string) bool { return strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, isControl) }

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }
