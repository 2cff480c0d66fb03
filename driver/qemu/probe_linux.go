package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/host"
)

// probe is what the host offers.
type probe struct {
	driver.Info
	binary   string
	sandbox  bool
	uefiCode string
	uefiVars string
	groups   []uint32 // further groups of a machine's process
	cgroups  []cgroup
}

// probe returns what the host offers, found out by the first caller.
func (h *Hypervisor) probe(ctx context.Context) (*probe, error) {
	h.probing.Lock()
	defer h.probing.Unlock()
	if h.probed != nil {
		return h.probed, nil
	}
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	p := &probe{}
	for _, step := range []func(context.Context, *probe) error{h.probeBinary, h.probeDevices, h.probeAccel, h.probeHost} {
		if err := step(ctx, p); err != nil {
			return nil, err
		}
	}
	h.probed = p
	return p, nil
}

func (p *probe) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (h *Hypervisor) probeBinary(ctx context.Context, p *probe) (err error) {
	p.Driver = "qemu"
	if p.binary, err = exec.LookPath(h.cfg.Binary); err == nil {
		p.binary, err = filepath.Abs(p.binary)
	}
	if err != nil {
		return fmt.Errorf("%w (install the Debian package qemu-system-x86, or set Config.Binary)", err)
	}
	out, err := exec.CommandContext(ctx, p.binary, "-version").Output()
	if err != nil {
		return fmt.Errorf("%s -version: %w", p.binary, err)
	}
	var major, minor int
	line, _, _ := strings.Cut(string(out), "\n")
	p.Version = strings.TrimPrefix(line, "QEMU emulator version ")
	if _, err := fmt.Sscanf(p.Version, "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 2 {
		return fmt.Errorf("%s is %q; QEMU 6.2 or later is needed", p.binary, line)
	}
	return nil
}

// probeDevices asks QEMU what it was built with, and whether it can lock itself up.
func (h *Hypervisor) probeDevices(ctx context.Context, p *probe) error {
	ask := func(more ...string) ([]byte, error) {
		args := append([]string{"-nodefaults", "-no-user-config", "-machine", "none", "-device", "help"}, more...)
		return exec.CommandContext(ctx, p.binary, args...).Output()
	}
	out, err := ask("-sandbox", "on")
	p.sandbox = err == nil
	if !p.sandbox {
		if out, err = ask(); err != nil {
			return fmt.Errorf("%s -device help: %w", p.binary, err)
		}
		p.note("this QEMU has no -sandbox: machines run without a system call filter")
	}
	has := func(devices ...string) bool {
		for _, d := range devices {
			if !bytes.Contains(out, []byte(`name "`+d+`"`)) {
				return false
			}
		}
		return true
	}
	collect := func(list *[]string, name string, devices ...string) {
		if has(devices...) {
			*list = append(*list, name)
		}
	}
	collect(&p.Buses, "virtio", "virtio-blk-pci")
	collect(&p.Buses, "scsi", "virtio-scsi-pci", "scsi-hd", "scsi-cd")
	collect(&p.Buses, "ide", "ide-hd", "ide-cd")
	collect(&p.Buses, "sata", "ich9-ahci", "ide-hd", "ide-cd")
	collect(&p.Buses, "usb", "qemu-xhci", "usb-bot", "scsi-hd", "scsi-cd")
	collect(&p.Buses, "nvme", "nvme")
	for _, model := range []string{"virtio", "e1000", "rtl8139", "ne2k_pci", "pcnet", "e1000e", "vmxnet3"} {
		collect(&p.NICModels, model, nicDriver(model))
	}
	collect(&p.VideoModels, "cirrus", "cirrus-vga")
	collect(&p.VideoModels, "vga", "VGA")
	collect(&p.VideoModels, "qxl", "qxl-vga")
	collect(&p.VideoModels, "virtio", "virtio-vga")
	p.VideoModels = append(p.VideoModels, "none")
	return nil
}

func (h *Hypervisor) probeAccel(ctx context.Context, p *probe) error {
	switch h.cfg.Accel {
	case "kvm", "tcg":
		p.Accel, p.AccelReason = h.cfg.Accel, "set by the configuration"
	case "auto":
		p.Accel, p.AccelReason = "kvm", "a tiny machine ran on KVM"
		if err := kvmWorks(ctx, h.dropsRoot()); err != nil {
			p.Accel, p.AccelReason = "tcg", "no KVM: "+err.Error()
		}
	default:
		return fmt.Errorf("%w: Config.Accel is %q; accepted: auto, kvm, tcg", driver.ErrInvalid, h.cfg.Accel)
	}
	if st, err := os.Stat("/dev/kvm"); err == nil && p.Accel == "kvm" && h.dropsRoot() {
		p.groups = []uint32{fileGroup(st)} // the device is usually root's and its group's
	}
	return nil
}

// dropsRoot reports whether machines run under users of their own.
func (h *Hypervisor) dropsRoot() bool { return os.Geteuid() == 0 && h.cfg.UIDBase > 0 }

func (h *Hypervisor) probeHost(_ context.Context, p *probe) error {
	var err error
	if p.MemoryMiB, err = host.MemoryMiB(); err != nil {
		return err
	}
	p.CPUs = runtime.NumCPU()
	if !h.dropsRoot() {
		p.note("machines run under this process's own user %d: one that breaks out of QEMU reaches the others", os.Geteuid())
	}
	for _, pair := range [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	} {
		if exists(pair[0]) && exists(pair[1]) {
			p.UEFI, p.uefiCode, p.uefiVars = true, pair[0], pair[1]
			break
		}
	}
	var why string
	if p.cgroups, why = findCgroups(cgroupRoot, h.cfg.Cgroup); why != "" {
		p.note("%s", why)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
