// Package qemu runs machines on QEMU directly: no libvirt, no daemon, no shell.
//
// A machine is a QEMU process in a session of its own that outlives this one.
// Its monitor (QMP) and serial port are listening unix sockets in a directory
// that only we may enter, so a later process adopts it by connecting. A process
// is known by its pidfd, its start time, the host's boot and the UUID that its
// monitor answers, never by its PID.
//
// As root, each machine runs under a user of its own that owns nothing: disks,
// their backing files, taps, sockets and the console log are opened here and
// passed as file descriptors, and QEMU's own system call filter is on. What the
// host does not offer is said in Info.Notes.
//
// Screens are VNC over socket pairs that are passed to QEMU a viewer at a time.
// Snapshots are backup jobs of QEMU's into files that are made here and passed
// likewise; their names tell a later process what they belong to.
//
// QEMU is told to pause and not to exit when the guest shuts down, so that the
// reason of an end can be asked for even by a process that was not there.
package qemu

import (
	"cmp"
	"log/slog"
	"time"
)

// Config of a Hypervisor. Only Dir is required.
type Config struct {
	// Dir is the driver's registry: definitions, sockets and QEMU's messages, a
	// directory per machine. It is made with mode 0700 and is locked against a
	// second process. It should survive a reboot of the host.
	Dir string
	// Binary of QEMU; empty looks for qemu-system-x86_64 on PATH.
	Binary string
	// Accel is "auto" (or empty), "kvm" or "tcg". auto takes KVM where a tiny
	// machine really ran on it, and software emulation elsewhere. The others are
	// not checked.
	Accel string
	// UIDBase is the first of the UIDCount user and group IDs that machines run
	// under when we are root; one per machine. 0 is 200000, negative runs all
	// machines as our own user. The range should belong to nobody else.
	UIDBase int
	// UIDCount is how many there are; 0 is 65536.
	UIDCount int
	// Below are the directories in which files that lie under disks may be. The header
	// of a disk's image is what names them, and that is in the hands of the machine's
	// QEMU: without this, who breaks out of it gets any file of the host to read at
	// the next start. None is for disks whose QEMUs are trusted.
	Below []string
	// Cgroup is the control group, relative to the root of each hierarchy, under
	// which every machine gets one of its own; empty is "shakenfist", "none" uses none.
	Cgroup string
	// ConsoleLimit is how many bytes of a console log are kept on disk, within a
	// page; 0 is 4 MiB.
	ConsoleLimit int64
	// Timeout bounds each command to a QEMU, each wait for its first word, and how
	// long its process may take to die; 0 is 5 s.
	Timeout time.Duration
	// Every is the period of housekeeping: bounding console logs, letting stalled
	// machines go on, reconnecting. 0 is 5 s.
	Every time.Duration
	// Now gives the time for Status.Since; nil is time.Now.
	Now func() time.Time
	// Log gets what an operator should know; nil discards it.
	Log *slog.Logger
}

// withDefaults fills in what zero values mean.
func (c Config) withDefaults() Config {
	c.Binary = cmp.Or(c.Binary, "qemu-system-x86_64")
	c.Accel = cmp.Or(c.Accel, "auto")
	c.UIDBase = cmp.Or(c.UIDBase, 200000)
	c.UIDCount = cmp.Or(c.UIDCount, 65536)
	c.Cgroup = cmp.Or(c.Cgroup, "shakenfist")
	c.ConsoleLimit = cmp.Or(c.ConsoleLimit, 4<<20)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.Every = cmp.Or(c.Every, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}
