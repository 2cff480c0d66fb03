// Package fake is a hypervisor and its volumes in memory, for tests: machines
// boot, print, stall, end and crash when the test says so, and any call can be
// made to fail, wait or hang.
//
// A Host is what survives the process: machines, volumes, cached images. A
// Hypervisor is a handle on it, so opening a second one is what a restarted
// daemon does. There is no goroutine, clock, random number or map order in here:
// the same calls give the same answers.
package fake

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/events"
)

// Config of a Host. The zero value is a host with 8 CPUs, 32 GiB of memory and
// 1 TiB of disk that knows every image and runs obedient guests.
type Config struct {
	// Now gives the time of state changes; nil stands still at Unix time 0.
	Now func() time.Time
	// Info is what the hypervisor says of itself; empty fields get defaults.
	Info driver.Info
	// Guest says how the guest of a machine behaves; nil and the zero Guest boot
	// to a login prompt and obey the power button.
	Guest func(spec driver.Spec) Guest
	// Image resolves a name to an image; nil makes up a 1 GiB qcow2 image for any
	// name (a CD-ROM where the name ends in ".iso").
	Image func(ref driver.ImageRef) (driver.Image, error)
	// Neighbour is the host that driver.ImageRef.Near names; nil is none, or one
	// that is not reached now.
	Neighbour func(host string) *Host
	// Hook is called around every call, before it acts and again, with Call.Done
	// set, when it succeeded but has not yet returned. Its error is what the
	// caller gets. It may block and must then heed ctx. Nil does nothing.
	Hook Hook
	// Disk is the size of the file system for volumes in bytes; 0 is 1 TiB.
	Disk int64
	// Dir is the prefix of the paths in answers; empty is "/fake".
	Dir string
}

// Guest is how a machine's guest behaves.
type Guest struct {
	// Console is printed at each boot; empty is a banner and "NAME login: ".
	Console string
	// IgnoresPower makes the guest ignore the power button.
	IgnoresPower bool
	// Answer gives what the guest prints when in is typed; nil echoes it.
	Answer func(in []byte) []byte
	// Commands are what the guest does when exactly the key is typed: "shutdown",
	// "crash" or "reset".
	Commands map[string]string
	// After is what the guest does as soon as it has booted, still within Start:
	// "" goes on running, otherwise as in Commands.
	After string
}

// Host is the state of a simulated host, independent of any handle on it. Its
// methods are what tests do to it and its guests; they are safe for concurrent use.
type Host struct {
	cfg Config

	mu       sync.Mutex
	machines map[string]*machine
	events   events.Hub
	pid      int
	faults   faults
	vol      volumes
}

// NewHost makes a host without machines.
func NewHost(cfg Config) *Host {
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return time.Unix(0, 0).UTC() }
	}
	if cfg.Guest == nil {
		cfg.Guest = func(driver.Spec) Guest { return Guest{} }
	}
	if cfg.Image == nil {
		cfg.Image = anyImage
	}
	cfg.Dir = cmp.Or(cfg.Dir, "/fake")
	cfg.Disk = cmp.Or(cfg.Disk, 1<<40)
	cfg.Info = withDefaults(cfg.Info)
	return &Host{
		cfg:      cfg,
		machines: map[string]*machine{},
		pid:      1000,
		events:   events.Hub{Driver: "fake"},
		faults:   faults{hook: cfg.Hook, calls: map[string]int{}},
		vol: volumes{
			images: map[string]driver.Image{}, instances: map[string][]made{},
			snapshots: map[string]*snapshot{}, copies: map[string]bool{},
		},
	}
}

func withDefaults(i driver.Info) driver.Info {
	i.Driver = cmp.Or(i.Driver, "fake")
	i.Version = cmp.Or(i.Version, "1")
	i.Accel = cmp.Or(i.Accel, "none")
	i.AccelReason = cmp.Or(i.AccelReason, "nothing runs")
	i.CPUs = cmp.Or(i.CPUs, 8)
	i.MemoryMiB = cmp.Or(i.MemoryMiB, 32<<10)
	for _, list := range []struct {
		of  *[]string
		def []string
	}{
		{&i.Buses, []string{"virtio", "scsi", "ide", "sata", "usb", "nvme"}},
		{&i.NICModels, []string{"virtio", "e1000", "rtl8139", "ne2k_pci", "pcnet", "e1000e", "vmxnet3"}},
		{&i.VideoModels, []string{"cirrus", "vga", "qxl", "virtio", "none"}},
	} {
		if *list.of == nil {
			*list.of = list.def
		}
	}
	return i
}

// Shutdown is the guest powering itself off: its machine is Stopped afterwards.
// Of a machine that is off it is an error, as are the other acts of a guest.
func (h *Host) Shutdown(id string) error {
	return h.act(id, func(m *machine) { m.end(driver.Stopped, "guest shut down") })
}

// Crash ends a machine as if its emulator had died.
func (h *Host) Crash(id, reason string) error {
	return h.act(id, func(m *machine) { m.end(driver.Crashed, reason) })
}

// Stall stops a machine as a full disk does, until MakeRoom or Resume.
func (h *Host) Stall(id string) error {
	return h.act(id, func(m *machine) { m.change(driver.Stalled, "no space left on device") })
}

// Print makes the guest write on its serial console.
func (h *Host) Print(id, text string) error {
	return h.act(id, func(m *machine) { m.print([]byte(text)) })
}

// Typed returns all that was written to a machine's console by its users.
func (h *Host) Typed(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[id]; m != nil {
		return string(m.typed)
	}
	return ""
}

// Spec returns the definition of a machine, to be compared with what was wanted.
func (h *Host) Spec(id string) (driver.Spec, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[id]; m != nil {
		return m.spec, true
	}
	return driver.Spec{}, false
}

// Fill fills the disk: every running machine stalls, builds get ErrNoSpace.
func (h *Host) Fill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.vol.full = true
	for _, m := range h.sorted() {
		if m.status.State == driver.Running {
			m.change(driver.Stalled, "no space left on device")
		}
	}
}

// MakeRoom ends what Fill began and lets all stalled machines go on.
func (h *Host) MakeRoom() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.vol.full = false
	for _, m := range h.sorted() {
		if m.status.State == driver.Stalled {
			m.change(driver.Running, "")
		}
	}
}

// Reboot is the host losing power and coming back: definitions and volumes stay,
// nothing runs. Handles opened before should be thrown away with their process.
func (h *Host) Reboot() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.sorted() {
		if m.status.State.On() {
			m.end(driver.Defined, "the host restarted")
		}
	}
}

func (h *Host) act(id string, f func(*machine)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil {
		return fmt.Errorf("fake: machine %s: %w", id, driver.ErrNotFound)
	}
	if !m.status.State.On() {
		return fmt.Errorf("fake: machine %s is %s: %w", id, m.status.State, driver.ErrState)
	}
	f(m)
	return nil
}

// sorted returns the machines in the order of their IDs.
func (h *Host) sorted() []*machine {
	var all []*machine
	for _, id := range slices.Sorted(maps.Keys(h.machines)) {
		all = append(all, h.machines[id])
	}
	return all
}
