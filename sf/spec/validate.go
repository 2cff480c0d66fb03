package spec

import (
	"net"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what a user may ask for.
const (
	MaxUserData   = 1 << 20 // bytes
	MaxDisks      = 16
	MaxInterfaces = 8
	MaxCPUs       = 255 // what a machine of the emulated kind can have
	MaxMemoryMiB  = 16 << 20
	MaxDiskGB     = 64 << 10
	MaxNameLength = 255
	MaxMetadata   = 64 << 10 // bytes of one object's metadata as JSON
)

// Buses a disk can ask for; which of them can be had is the driver's to say.
var Buses = []string{"virtio", "scsi", "ide", "sata", "usb", "nvme"}

// Validate says what is wrong with the request in itself, without knowing the
// cloud. The error is of class ErrInvalid and names the field.
func (s *InstanceSpec) Validate() error {
	switch {
	case !ValidHostname(s.Name):
		return Errorf(ErrInvalid, "instance name must be useable as a DNS host name")
	case s.CPUs < 1 || s.CPUs > MaxCPUs:
		return Errorf(ErrInvalid, "cpus must be between 1 and %d, not %d", MaxCPUs, s.CPUs)
	case s.MemoryMiB < 1 || s.MemoryMiB > MaxMemoryMiB:
		return Errorf(ErrInvalid, "memory must be between 1 and %d MiB, not %d", MaxMemoryMiB, s.MemoryMiB)
	case len(s.Disks) == 0:
		return Errorf(ErrInvalid, "instance must specify at least one disk")
	case len(s.Disks) > MaxDisks:
		return Errorf(ErrInvalid, "an instance has at most %d disks, not %d", MaxDisks, len(s.Disks))
	case len(s.Interfaces) > MaxInterfaces:
		return Errorf(ErrInvalid, "an instance has at most %d network interfaces, not %d", MaxInterfaces, len(s.Interfaces))
	case len(s.UserData) > MaxUserData:
		return Errorf(ErrInvalid, "user_data has %d bytes, the most is %d", len(s.UserData), MaxUserData)
	case !printable(s.SSHKey) || len(s.SSHKey) > 16<<10:
		return Errorf(ErrInvalid, "ssh_key must be text of at most 16 KiB")
	case s.Video.MemoryKiB < 0 || s.Video.MemoryKiB > 1<<20:
		return Errorf(ErrInvalid, "video memory must be between 0 and %d KiB, not %d", 1<<20, s.Video.MemoryKiB)
	}
	for i, d := range s.Disks {
		if err := d.validate(i); err != nil {
			return err
		}
	}
	for i, n := range s.Interfaces {
		if err := n.validate(i); err != nil {
			return err
		}
	}
	return nil
}

func (d Disk) validate(i int) error {
	switch {
	case d.SizeGB < 0 || d.SizeGB > MaxDiskGB:
		return Errorf(ErrInvalid, "disk %d: size must be between 0 and %d GB, not %d", i, MaxDiskGB, d.SizeGB)
	case d.Base == "" && d.SizeGB == 0:
		return Errorf(ErrInvalid, "disk %d: a disk without an image needs a size", i)
	case len(d.Base) > 2048 || !printable(d.Base):
		return Errorf(ErrInvalid, "disk %d: base must be an image name or URL of at most 2048 characters", i)
	case d.Bus != "" && !contains(Buses, d.Bus):
		return Errorf(ErrInvalid, "disk %d: bus %q is not one of %s", i, d.Bus, strings.Join(Buses, ", "))
	case d.Type != "" && d.Type != "disk" && d.Type != "cdrom":
		return Errorf(ErrInvalid, "disk %d: type %q is not one of disk, cdrom", i, d.Type)
	case d.Type == "cdrom" && d.Base == "":
		return Errorf(ErrInvalid, "disk %d: a cdrom needs an image (base)", i)
	}
	return nil
}

func (n InterfaceSpec) validate(i int) error {
	if n.Network == "" {
		return Errorf(ErrInvalid, "network specification is missing network_uuid")
	}
	if n.Address != "" {
		if a, err := netip.ParseAddr(n.Address); err != nil || !a.Is4() {
			return Errorf(ErrInvalid, "network interface %d: address %q is not an IPv4 address", i, n.Address)
		}
	}
	if n.MAC != "" {
		if _, err := ParseMAC(n.MAC); err != nil {
			return Errorf(ErrInvalid, "network interface %d: %v", i, err)
		}
	}
	if n.Model != "" && !ValidLabel(n.Model) {
		return Errorf(ErrInvalid, "network interface %d: model %q is not the name of a network card", i, n.Model)
	}
	return nil
}

// ParseMAC parses a unicast Ethernet address and returns it in lower case.
func ParseMAC(s string) (string, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 || len(s) != 17 || s[2] != ':' {
		return "", Errorf(ErrInvalid, "macaddress %q is not of the form 02:00:00:ab:cd:ef", s)
	}
	if mac[0]&1 != 0 {
		return "", Errorf(ErrInvalid, "macaddress %q is a multicast address: the second digit must be even", s)
	}
	if mac.String() == "00:00:00:00:00:00" {
		return "", Errorf(ErrInvalid, "macaddress %q is not usable", s)
	}
	return mac.String(), nil
}

// Validate says what is wrong with the request. The error is of class ErrInvalid.
func (s *NetworkSpec) Validate() error {
	if len(s.Name) > MaxNameLength || !printable(s.Name) {
		return Errorf(ErrInvalid, "network name must be printable text of at most %d characters", MaxNameLength)
	}
	_, err := ParseNetblock(s.Netblock)
	return err
}

// ParseNetblock parses the block of a network: IPv4, no host bits, /8 to /29.
func ParseNetblock(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, Errorf(ErrInvalid, "cannot parse netblock: %q is not of the form 192.168.1.0/24", s)
	case !p.Addr().Is4():
		return p, Errorf(ErrInvalid, "cannot parse netblock: %s is not IPv4", s)
	case p != p.Masked():
		return p, Errorf(ErrInvalid, "cannot parse netblock: %s has host bits set, did you mean %s?", s, p.Masked())
	case p.Bits() < 8 || p.Bits() > 29:
		return p, Errorf(ErrInvalid, "cannot parse netblock: %s is not between /8 and /29", s)
	}
	a := p.Addr()
	if a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.As4()[0] == 0 || a.As4()[0] >= 240 {
		return p, Errorf(ErrInvalid, "cannot parse netblock: %s is not a block that hosts may use", s)
	}
	return p, nil
}

// ValidHostname reports whether s can be an instance's name: letters, digits,
// hyphens and underscores, at most 63. Not all of these are DNS labels; the
// original accepts them.
func ValidHostname(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return true
}

// ValidLabel reports whether s is a name of namespaces, keys and the like: it
// can stand in a URL path and in a store's key as it is.
func ValidLabel(s string) bool {
	if s == "" || len(s) > 128 || s == "." || s == ".." {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.@+", r)) {
			return false
		}
	}
	return true
}

// ValidUUID reports whether s is a UUID in lower case, as this cloud makes them.
func ValidUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f') {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' {
			return false
		}
	}
	return true
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
