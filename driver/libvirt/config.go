// Package libvirt runs machines through the host's libvirtd, on its local socket.
//
// A machine is a persistent domain named sf:UUID with the machine's own UUID. Its
// definition carries, as metadata, whose it is and the whole driver.Spec, so that
// libvirt alone knows what exists. What libvirt forgets when it restarts (why a
// machine ended, how often it was started, what we asked of it) is noted in a file
// per machine, written in one step before what it announces. A machine's state is
// a pure function of that note and what libvirt says.
//
// No call waits for ever, although the protocol's library knows no contexts: calls
// that libvirt answers from memory share one connection with the events, and
// whatever may wait for a QEMU gets a connection of its own, which is cut when its
// time is over. A libvirtd that goes away is waited for within the same limits;
// when it is back all machines are looked at again.
//
// libvirtd starts QEMU in its own network namespace, the taps of a Spec may live
// in others: see tap_linux.go for how they come together.
package libvirt

import (
	"cmp"
	"log/slog"
	"time"
)

// DefaultSocket is where a libvirtd of the system listens.
const DefaultSocket = "/run/libvirt/libvirt-sock"

// Config of a Hypervisor. Only Dir is required.
type Config struct {
	// Dir holds the driver's notes, a file per machine. It is made with mode 0700
	// and is locked against a second process. It should survive a reboot of the host.
	Dir string
	// Socket of libvirtd; empty is DefaultSocket.
	Socket string
	// Owner marks our domains; those of others are neither listed nor touched.
	// Empty is "shakenfist".
	Owner string
	// Accel is "auto" (or empty), "kvm" or "tcg". auto takes KVM where the processor
	// shows it and libvirt offers it, and software emulation elsewhere. The others
	// are not checked.
	Accel string
	// Below are the directories in which files that lie under disks may be. The header
	// of a disk's image is what names them, and that is in the hands of the machine's
	// QEMU: without this, who breaks out of it gets any file of the host to read at
	// the next start. None is for disks whose QEMUs are trusted.
	Below []string
	// ConsoleLimit is how many bytes of a console log are kept on disk where QEMU
	// writes it; 0 is 4 MiB. Where virtlogd does, its own limits hold as well.
	ConsoleLimit int64
	// Timeout bounds each exchange with libvirtd, and how long a call waits for one
	// that is away; 0 is 10 s.
	Timeout time.Duration
	// StartTimeout bounds the start of a machine; 0 is 60 s.
	StartTimeout time.Duration
	// Every is the period of housekeeping: looking at all machines, letting stalled
	// ones go on, bounding console logs. 0 is 5 s.
	Every time.Duration
	// Now gives the time for Status.Since; nil is time.Now.
	Now func() time.Time
	// Log gets what an operator should know; nil discards it.
	Log *slog.Logger
}

// withDefaults fills in what zero values mean.
func (c Config) withDefaults() Config {
	c.Socket = cmp.Or(c.Socket, DefaultSocket)
	c.Owner = cmp.Or(c.Owner, "shakenfist")
	c.Accel = cmp.Or(c.Accel, "auto")
	c.ConsoleLimit = cmp.Or(c.ConsoleLimit, 4<<20)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
	c.Every = cmp.Or(c.Every, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}
