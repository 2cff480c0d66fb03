package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

// launch is all that a command line depends on. Numbers are file descriptors in
// the new process.
type launch struct {
	Spec     driver.Spec
	Accel    string // "kvm" or "tcg"
	Sandbox  bool
	Sets     []fdSet // passed files, in the order of their set numbers
	QMP      int     // listening socket
	Serial   int     // listening socket
	LogSet   int     // number in Sets of the console log
	Chains   [][]layer
	Taps     []int
	Firmware *firmware
}

// fdSet makes a passed descriptor reachable as /dev/fdset/Set.
type fdSet struct{ FD, Set int }

// layer is one image file of a disk. The topmost comes first.
type layer struct {
	Set    int
	Format string
}

// firmware is UEFI: code and the machine's own variables, by set.
type firmware struct{ Code, Vars int }

// object is one JSON object of a -device or -blockdev option. Its encoding is
// sorted by key, so the same machine gives the same command line.
type object map[string]any

func (o object) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings, numbers, booleans and objects of them always encode
	}
	return string(b)
}

func fdset(n int) string { return "/dev/fdset/" + strconv.Itoa(n) }

// argv returns QEMU's arguments without the program's name. Every value that
// comes from a Spec is encoded as JSON or a number, but for the name.
func argv(l launch) []string {
	s := l.Spec
	args := []string{
		"-nodefaults", "-no-user-config", "-S",
		"-name", "guest=" + strings.ReplaceAll(s.Name, ",", ",,") + ",debug-threads=on",
		"-uuid", s.ID,
		"-machine", machineType(l),
		"-accel", accel(l.Accel),
		"-cpu", map[string]string{"kvm": "host", "tcg": "max"}[l.Accel],
		"-smp", fmt.Sprintf("cpus=%d,sockets=1,cores=%d,threads=1", s.CPUs, s.CPUs),
		"-m", fmt.Sprintf("size=%dM", s.MemoryMiB),
		"-rtc", "base=utc",
		"-boot", "strict=on",
		// A guest that shuts down leaves a paused QEMU behind that can tell.
		"-action", "shutdown=pause,reboot=reset,panic=none",
		// Suspended guests could not be told from running ones.
		"-global", "PIIX4_PM.disable_s3=1", "-global", "PIIX4_PM.disable_s4=1",
		"-display", "none",
	}
	if l.Sandbox {
		args = append(args, "-sandbox",
			"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	}
	for _, f := range l.Sets {
		args = append(args, "-add-fd", fmt.Sprintf("fd=%d,set=%d", f.FD, f.Set))
	}
	args = append(args,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", l.QMP),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=serial,fd=%d,server=on,wait=off,logfile=%s,logappend=on", l.Serial, fdset(l.LogSet)),
		"-serial", "chardev:serial",
		"-object", "rng-builtin,id=rng",
		"-device", object{"driver": "virtio-rng-pci", "rng": "rng"}.String(),
	)
	args = append(args, firmwareArgs(l.Firmware)...)
	args = append(args, videoArgs(s.Video)...)
	args = append(args, diskArgs(s.Disks, l.Chains)...)
	return append(args, nicArgs(s.NICs, l.Taps)...)
}

func machineType(l launch) string {
	m := "pc,dump-guest-core=off,vmport=off"
	if l.Spec.Video.Model == "none" {
		m += ",graphics=off" // the BIOS then speaks on the serial port
	}
	if l.Firmware != nil {
		m += ",pflash0=firmware-code,pflash1=firmware-vars"
	}
	return m
}

// accel bounds the cache of translated code: its default is a share of the
// host's memory, per machine.
func accel(name string) string {
	if name == "tcg" {
		return "tcg,thread=multi,tb-size=128"
	}
	return name
}

func firmwareArgs(f *firmware) []string {
	if f == nil {
		return nil
	}
	flash := func(node string, set int, readOnly bool) string {
		return object{"driver": "raw", "node-name": node, "read-only": readOnly,
			"file": object{"driver": "file", "filename": fdset(set)}}.String()
	}
	return []string{
		"-blockdev", flash("firmware-code", f.Code, true),
		"-blockdev", flash("firmware-vars", f.Vars, false),
	}
}

func videoArgs(v driver.Video) []string {
	mib := 1
	for mib*1024 < v.MemoryKiB {
		mib *= 2 // all models want a power of two
	}
	device := object{"id": "video"}
	switch v.Model {
	case "cirrus":
		device["driver"], device["vgamem_mb"] = "cirrus-vga", min(max(mib, 4), 16)
	case "vga":
		device["driver"], device["vgamem_mb"] = "VGA", min(max(mib, 16), 256)
	case "qxl":
		device["driver"], device["vgamem_mb"] = "qxl-vga", min(max(mib, 16), 256)
	case "virtio":
		device["driver"] = "virtio-vga"
	default:
		return nil
	}
	// The VNC server listens nowhere: viewers are handed to it (see Display). None
	// of them can send the others away.
	return []string{"-device", device.String(), "-vnc", "none,share=ignore"}
}

func nicArgs(nics []driver.NIC, taps []int) []string {
	var args []string
	for i, n := range nics {
		id := "nic" + strconv.Itoa(i)
		device := object{"driver": nicDriver(n.Model), "id": id, "netdev": id, "mac": n.MAC}
		if n.Model == "virtio" && n.MTU > 0 {
			device["host_mtu"] = n.MTU
		}
		device["romfile"] = "" // nothing boots from the network
		args = append(args, "-netdev", fmt.Sprintf("tap,id=%s,fd=%d", id, taps[i]), "-device", device.String())
	}
	return args
}

func nicDriver(model string) string {
	if model == "virtio" {
		return "virtio-net-pci"
	}
	return model
}
