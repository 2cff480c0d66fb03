package libvirt

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/shakenfist/cloud/driver"
)

// blueprint is all that a domain's definition depends on.
type blueprint struct {
	Spec   driver.Spec
	Owner  string
	Accel  string    // "kvm" or "tcg"
	Chains [][]layer // of Spec.Disks: the files below each one, the nearest first; nil leaves that to libvirt
	Taps   []string  // of Spec.NICs: as QEMU will find them
	Loader string    // UEFI firmware; empty without
	Vars   string    // template of its variables
}

// layer is a backing file of a disk.
type layer struct {
	Path   string
	Format string
	// Common files are readable for everybody and stay whose they are; libvirt gives
	// others to the user of its QEMUs.
	Common bool
}

// names of what we put into Spec.Dir.
func consoleLog(s driver.Spec) string    { return filepath.Join(s.Dir, "console.log") }
func consoleSocket(s driver.Spec) string { return filepath.Join(s.Dir, "console.sock") }
func nvram(s driver.Spec) string         { return filepath.Join(s.Dir, "nvram.fd") }

func domainName(id string) string { return "sf:" + id }

// diskAlias names a disk towards libvirt: user-made aliases begin with "ua-".
func diskAlias(device string) string { return "ua-disk-" + device }

// document returns the definition of a domain.
func document(b blueprint) (string, error) {
	d, err := newDomain(b)
	if err != nil {
		return "", err
	}
	text, err := xml.MarshalIndent(d, "", "  ")
	return string(text) + "\n", err
}

func newDomain(b blueprint) (*xmlDomain, error) {
	s := b.Spec
	mark, err := newMetadata(b.Owner, s)
	if err != nil {
		return nil, err
	}
	d := &xmlDomain{
		Type: "kvm", Name: domainName(s.ID), UUID: s.ID, Title: s.Name, Metadata: mark,
		Memory: xmlMemory{"MiB", s.MemoryMiB}, VCPU: xmlVCPU{"static", s.CPUs},
		OS:         xmlOS{Type: xmlOSType{"x86_64", "pc", "hvm"}},
		Features:   xmlFeatures{ACPI: &empty{}, APIC: &empty{}, VMPort: &xmlState{"off"}},
		CPU:        xmlCPU{Mode: "host-passthrough", Topology: xmlTopology{1, s.CPUs, 1}},
		Clock:      xmlClock{"utc"},
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		// A suspended guest could not be told from a running one.
		PM: xmlPM{xmlEnabled{"no"}, xmlEnabled{"no"}},
	}
	if b.Accel == "tcg" {
		d.Type, d.CPU.Mode = "qemu", "maximum"
		// The default cache of translated code is a share of the host's memory.
		d.Features.TCG = &xmlTCG{xmlMemory{"MiB", 128}}
	}
	if b.Loader != "" {
		d.OS.Loader = &xmlLoader{"yes", "pflash", b.Loader}
		d.OS.NVRAM = &xmlNVRAM{b.Vars, nvram(s)}
	}
	if s.Video.Model == "none" && b.Loader == "" {
		d.OS.BIOS = &xmlBIOS{"yes"} // it speaks on the serial port then
	}
	d.Devices = newDevices(b)
	return d, nil
}

func newDevices(b blueprint) xmlDevices {
	s := b.Spec
	d := xmlDevices{
		Disks: newDisks(s.Disks, b.Chains), Controllers: newControllers(s.Disks),
		Serial: xmlSerial{
			Type: "unix", Source: xmlSerialSource{"bind", consoleSocket(s)},
			Log: xmlSerialLog{consoleLog(s), "on"}, Target: xmlSerialTarget{"isa-serial", 0},
		},
		Balloon: xmlModel{"none"},
		RNG:     xmlRNG{"virtio", xmlBackend{"builtin"}},
		Video:   newVideo(s.Video),
	}
	if s.Video.Model != "none" {
		// By default each viewer may send the others away.
		d.Graphics = []xmlGraphics{{Type: "vnc", Share: "ignore", Listen: xmlListen{"socket"}}}
	}
	for i, n := range s.NICs {
		nic := xmlInterface{
			Type: "ethernet", MAC: xmlMAC{n.MAC}, Target: xmlTap{b.Taps[i], "no"},
			Model: xmlModelType{n.Model}, Alias: xmlAlias{"ua-nic-" + strconv.Itoa(i)}, ROM: xmlEnabled{"no"},
		}
		if n.Model == "virtio" && n.MTU > 0 {
			nic.MTU = &xmlMTU{n.MTU}
		}
		d.Interfaces = append(d.Interfaces, nic)
	}
	return d
}

func newVideo(v driver.Video) xmlVideo {
	kib := 1024
	for kib < v.MemoryKiB {
		kib *= 2 // all models want a power of two
	}
	m := xmlVideoModel{Type: v.Model}
	switch v.Model {
	case "cirrus":
		m.VRAM, m.Heads = min(max(kib, 4<<10), 16<<10), 1
	case "vga":
		m.VRAM, m.Heads = min(max(kib, 16<<10), 256<<10), 1
	case "qxl":
		m.VGAMem, m.Heads = min(max(kib, 16<<10), 256<<10), 1
	case "virtio":
		m.Heads = 1
	}
	return xmlVideo{m}
}

// xmlNamespace of our metadata.
const xmlNamespace = "https://github.com/shakenfist/cloud/driver/libvirt"

func newMetadata(owner string, s driver.Spec) (xmlMetadata, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return xmlMetadata{}, fmt.Errorf("metadata: %w", err)
	}
	return xmlMetadata{xmlMark{NS: xmlNamespace, Owner: owner, Spec: string(text)}}, nil
}

// parseMark reads what DomainGetMetadata returns: whose a domain is, and its Spec.
func parseMark(text string) (owner string, s driver.Spec, err error) {
	var mark struct {
		Owner string `xml:"owner,attr"`
		Spec  string `xml:"spec"`
	}
	if err := xml.Unmarshal([]byte(text), &mark); err != nil {
		return "", s, fmt.Errorf("metadata: %w", err)
	}
	if err := json.Unmarshal([]byte(mark.Spec), &s); err != nil {
		return mark.Owner, s, fmt.Errorf("metadata: %w", err)
	}
	return mark.Owner, s, nil
}
