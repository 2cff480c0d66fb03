package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/host"
)

// probe is what the host offers.
type probe struct {
	driver.Info
	loader, vars string // UEFI
	user         int    // that QEMUs run under; -1 unknown
	group        int
}

// Info implements driver.Hypervisor. The first call asks libvirt for what its QEMU
// can do, which takes seconds where libvirt has to find that out itself.
func (h *Hypervisor) Info(ctx context.Context) (driver.Info, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return driver.Info{}, err
	}
	defer leave()
	p, err := h.probe(ctx)
	if err != nil {
		return driver.Info{}, fmt.Errorf("libvirt: %w", err)
	}
	return p.Info, nil
}

// probe returns what the host offers, found out by the first caller.
func (h *Hypervisor) probe(ctx context.Context) (*probe, error) {
	if err := h.probing.Take(ctx); err != nil {
		return nil, err
	}
	defer h.probing.Give()
	if h.probed != nil {
		return h.probed, nil
	}
	p := &probe{user: -1, group: -1}
	var caps hostCaps
	var machine machineCaps
	err := h.call(ctx, h.cfg.StartTimeout, func(c *conn) error {
		if err := h.askVersions(c, p); err != nil {
			return err
		}
		text, err := c.ConnectGetCapabilities()
		if err != nil {
			return err
		}
		caps = hostCaps{}
		if err := xml.Unmarshal([]byte(text), &caps); err != nil {
			return fmt.Errorf("capabilities: %w", err)
		}
		if err := h.chooseAccel(p, caps); err != nil {
			return err
		}
		text, err = c.ConnectGetDomainCapabilities(nil, golibvirt.OptString{"x86_64"}, golibvirt.OptString{"pc"},
			golibvirt.OptString{domainType(p.Accel)}, 0)
		if err != nil {
			return err
		}
		machine = machineCaps{}
		return xml.Unmarshal([]byte(text), &machine)
	})
	if err != nil {
		return nil, err
	}
	p.models(machine)
	p.security(caps)
	p.firmware(h.place(), machine)
	if p.MemoryMiB, err = host.MemoryMiB(); err != nil {
		return nil, err
	}
	p.CPUs = runtime.NumCPU()
	h.probed = p
	return p, nil
}

func (h *Hypervisor) askVersions(c *conn, p *probe) error {
	qemu, err := c.ConnectGetVersion()
	if err != nil {
		return err
	}
	lib, err := c.ConnectGetLibVersion()
	if err != nil {
		return err
	}
	dotted := func(v uint64) string { return fmt.Sprintf("%d.%d.%d", v/1e6, v/1e3%1e3, v%1e3) }
	p.Driver, p.Version = "libvirt", dotted(lib)+" with QEMU "+dotted(qemu)
	if lib < 8_000_000 {
		return errors.New("libvirt is " + dotted(lib) + "; 8.0 or later is needed")
	}
	return nil
}

// hostCaps is what we read of libvirt's capabilities.
type hostCaps struct {
	Security []struct {
		Model string `xml:"model"`
		Label []struct {
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"baselabel"`
	} `xml:"host>secmodel"`
	Guests []struct {
		Arch struct {
			Name    string `xml:"name,attr"`
			Domains []struct {
				Type string `xml:"type,attr"`
			} `xml:"domain"`
		} `xml:"arch"`
	} `xml:"guest"`
}

// runs reports whether x86 domains of a type can be had.
func (c hostCaps) runs(domain string) bool {
	for _, g := range c.Guests {
		for _, d := range g.Arch.Domains {
			if g.Arch.Name == "x86_64" && d.Type == domain {
				return true
			}
		}
	}
	return false
}

// machineCaps is what we read of libvirt's domain capabilities.
type machineCaps struct {
	Loaders []string  `xml:"os>loader>value"`
	Disk    []xmlEnum `xml:"devices>disk>enum"`
	Video   []xmlEnum `xml:"devices>video>enum"`
}

type xmlEnum struct {
	Name   string   `xml:"name,attr"`
	Values []string `xml:"value"`
}

func values(enums []xmlEnum, name string) []string {
	for _, e := range enums {
		if e.Name == name {
			return e.Values
		}
	}
	return nil
}

func domainType(accel string) string { return map[string]string{"kvm": "kvm", "tcg": "qemu"}[accel] }

var virtFlags = regexp.MustCompile(`(?m)^flags\s*:.*\b(vmx|svm)\b`)

// chooseAccel: libvirt offers KVM where the device node is, which proves nothing;
// the processor must say that it has the extension.
func (h *Hypervisor) chooseAccel(p *probe, host hostCaps) error {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	switch {
	case h.cfg.Accel == "kvm" || h.cfg.Accel == "tcg":
		p.Accel, p.AccelReason = h.cfg.Accel, "set by the configuration"
	case h.cfg.Accel != "auto":
		return fmt.Errorf("%w: Config.Accel is %q; accepted: auto, kvm, tcg", driver.ErrInvalid, h.cfg.Accel)
	case !host.runs("kvm"):
		p.Accel, p.AccelReason = "tcg", "no KVM: libvirt does not offer it"
	case !virtFlags.Match(cpu):
		p.Accel, p.AccelReason = "tcg", "no KVM: the processor shows neither vmx nor svm"
	default:
		p.Accel, p.AccelReason = "kvm", "libvirt offers KVM and the processor has it"
	}
	if !host.runs(domainType(p.Accel)) {
		return fmt.Errorf("libvirt has no x86_64 machines of type %s (install the Debian packages "+
			"libvirt-daemon-driver-qemu and qemu-system-x86)", domainType(p.Accel))
	}
	return nil
}

func (p *probe) models(m machineCaps) {
	offered := func(wanted, have []string) (list []string) {
		for _, w := range wanted {
			if slices.Contains(have, w) {
				list = append(list, w)
			}
		}
		return list
	}
	p.Buses = offered([]string{"virtio", "scsi", "ide", "sata", "usb"}, values(m.Disk, "bus"))
	if !slices.Contains(p.Buses, "ide") { // it goes without saying in a machine of type pc
		p.Buses = append(p.Buses, "ide")
	}
	p.VideoModels = append(offered([]string{"cirrus", "vga", "qxl", "virtio"}, values(m.Video, "modelType")), "none")
	// libvirt does not list these, but all QEMUs for PCs have them.
	p.NICModels = []string{"virtio", "e1000", "rtl8139", "ne2k_pci", "pcnet", "e1000e", "vmxnet3"}
}

// security finds whom QEMUs run as.
func (p *probe) security(host hostCaps) {
	for _, s := range host.Security {
		for _, l := range s.Label {
			if s.Model == "dac" && l.Type == "kvm" {
				fmt.Sscanf(l.Text, "+%d:+%d", &p.user, &p.group)
			}
		}
	}
	if p.user >= 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("libvirt runs all machines as one user (%d): "+
			"without AppArmor or SELinux one that breaks out of QEMU reaches the others", p.user))
	}
}

// firmware takes the first UEFI that libvirt knows and whose variables are there.
func (p *probe) firmware(at *place, m machineCaps) {
	for _, code := range m.Loaders {
		vars := strings.Replace(code, "_CODE", "_VARS", 1)
		if vars == code || strings.Contains(code, "secboot") || strings.Contains(code, ".ms.") {
			continue
		}
		if at.has(code) && at.has(vars) {
			p.UEFI, p.loader, p.vars = true, code, vars
			return
		}
	}
}

// place is where libvirtd lives: what it calls a path is below root, and ns is the
// path of its network namespace.
type place struct {
	root string
	ns   string
}

func newPlace(pid int) *place {
	return &place{root: fmt.Sprintf("/proc/%d/root", pid), ns: fmt.Sprintf("/proc/%d/ns/net", pid)}
}

func (p *place) path(name string) string { return filepath.Join(p.root, name) }

func (p *place) has(name string) bool {
	_, err := os.Stat(p.path(name))
	return p != nil && err == nil
}

// place returns where libvirtd lives, as of the last connection; before the first
// one it is here.
func (h *Hypervisor) place() *place {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.where == nil {
		return newPlace(os.Getpid())
	}
	return h.where
}

// via tells the libvirtd of the last connection from others.
func (h *Hypervisor) via() string { return h.place().root }
