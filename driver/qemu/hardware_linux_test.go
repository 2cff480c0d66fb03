package qemu_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/internal/netns"
	"github.com/shakenfist/cloud/driver/internal/tap"
	"golang.org/x/sys/unix"
)

// Every piece of hardware that Info offers can be had, and QEMU takes it.
func TestHardware(t *testing.T) {
	l := newLab(t, nil)
	info, err := l.h.Info(l.ctx)
	l.must(err)
	ns := newNamespace(t)
	n := 0
	try := func(name string, change func(*driver.Spec)) {
		n++
		s := spec(l.dir, n)
		change(&s)
		t.Run(name, func(t *testing.T) {
			sub := *l
			sub.T = t
			sub.run(withDisks(t, s))
			sub.must(l.h.Stop(l.ctx, s.ID, driver.Force))
		})
	}
	for _, bus := range info.Buses {
		try(bus, func(s *driver.Spec) {
			s.Disks[0].Bus, s.Disks[0].Serial = bus, `s"1,`
			second := s.Disks[0]
			second.Device, second.Path = "xdb", second.Path+"-2"
			s.Disks = append(s.Disks, second)
		})
		try(bus+"-read-only", func(s *driver.Spec) { s.Disks[0].Bus, s.Disks[0].ReadOnly = bus, true })
		if bus != "virtio" && bus != "nvme" {
			try(bus+"-cdrom", func(s *driver.Spec) { s.Disks[0].Bus, s.Disks[0].CDROM = bus, true })
		}
	}
	for i, model := range info.NICModels {
		try(model, func(s *driver.Spec) {
			tap := fmt.Sprintf("sftap%d", i)
			ns.tap(t, tap)
			s.NICs = []driver.NIC{{Tap: tap, NetNS: ns.path, MAC: "02:00:00:00:00:01", Model: model, MTU: 1450}}
		})
	}
	for _, model := range info.VideoModels {
		try("video-"+model, func(s *driver.Spec) { s.Video = driver.Video{Model: model, MemoryKiB: 16384} })
	}
	try("smp", func(s *driver.Spec) { s.CPUs = 3 })
	if !info.UEFI {
		t.Error("no UEFI firmware (Debian package ovmf)")
	}
}

// A machine with UEFI runs it, and keeps variables of its own.
func TestUEFI(t *testing.T) {
	l := newLab(t, nil)
	s := spec(l.dir, 1)
	s.UEFI, s.MemoryMiB = true, 128
	l.run(withDisks(t, s))
	l.eventually("UEFI to speak", func() bool {
		p := make([]byte, 1<<16)
		n, _, err := l.h.ConsoleLog(l.ctx, s.ID, 0, p)
		l.must(err)
		return bytes.Contains(p[:n], []byte("BdsDxe"))
	})
	vars := filepath.Join(s.Dir, "nvram.fd")
	if _, err := os.Stat(vars); err != nil {
		t.Error(err)
	}
	l.must(l.h.Destroy(l.ctx, s.ID))
	if _, err := os.Stat(s.Dir); err == nil {
		t.Errorf("%s is still there", s.Dir)
	}
}

// The guest sees its disks with their sizes and serials, cannot write to what is
// read-only, reads through a chain of backing files, and its network card sends
// into its tap.
func TestGuestHardware(t *testing.T) {
	l := newLab(t, nil)
	ns := newNamespace(t)
	ns.tap(t, "sftap0")
	s := guestSpec(t, l.dir, 1)
	s.NICs = []driver.NIC{{Tap: "sftap0", NetNS: ns.path, MAC: "02:00:00:ab:cd:ef", Model: "virtio", MTU: 1400}}
	data := func(device, bus, format string) driver.Disk {
		return driver.Disk{Device: device, Path: filepath.Join(l.dir, device), Format: format, Bus: bus, Serial: "serial-" + device}
	}
	s.Disks = append(s.Disks, data("vdb", "virtio", "raw"), data("sda", "scsi", "raw"), data("vdc", "virtio", "qcow2"))
	s.Disks[1].ReadOnly = true
	for _, d := range s.Disks[1:3] {
		l.must(os.WriteFile(d.Path, bytes.Repeat([]byte(d.Device+"\n"), 1<<18), 0o600))
	}
	l.qemuImg("create", "-q", "-f", "qcow2", "-b", "sda", "-F", "raw", filepath.Join(l.dir, "middle"))
	l.qemuImg("create", "-q", "-f", "qcow2", "-b", "middle", "-F", "qcow2", s.Disks[3].Path)
	s.Disks[2].ReadOnly = true // it lies under another

	frames := ns.listen(t, "sftap0")
	l.run(s)
	con, err := l.h.Console(l.ctx, s.ID)
	l.must(err)
	defer con.Close()
	c := guest.NewConsole(con)
	if !frames.from(t, "\x02\x00\x00\xab\xcd\xef") {
		t.Error("no frame of the guest's came out of its tap")
	}
	l.must(c.Login(l.ctx))
	st, err := l.h.Stats(l.ctx, s.ID)
	l.must(err)
	if st.SentBytes <= 0 || st.ReadBytes <= 0 || st.CPUNanoseconds <= 0 || st.MemoryBytes < 16<<20 || st.MemoryBytes > 2<<30 {
		t.Errorf("after a boot: %+v", st)
	}
	for _, tt := range []struct{ command, want string }{
		{"cat /sys/block/vdb/serial", "serial-vdb"},
		{"cat /sys/block/vdb/ro", "1"},
		{"head -c 4 /dev/vdb", "vdb"},
		{"head -c 4 /dev/sda", "sda"},
		{"cat /sys/block/sda/ro", "1"},
		{"head -c 4 /dev/vdc", "sda"}, // two files down
		{"echo new > /dev/vdc; sync; echo 3 > /proc/sys/vm/drop_caches; head -c 4 /dev/vdc", "new"},
		{"head -c 4 /dev/sda", "sda"},
		{"cat /sys/class/net/eth0/address", "02:00:00:ab:cd:ef"},
		{"cat /sys/class/net/eth0/mtu", "1400"},
	} {
		out, _, err := c.Run(l.ctx, tt.command)
		if err != nil || strings.TrimSpace(out) != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.command, out, err, tt.want)
		}
	}
}

func (l *lab) qemuImg(args ...string) {
	l.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		l.Fatalf("qemu-img %v: %v: %s", args, err, out)
	}
}

// namespace is a network namespace that lives as long as a test, by the path of
// a descriptor.
type namespace struct{ path string }

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	f, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &namespace{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())}
}

// in runs f in the namespace.
func (n *namespace) in(t *testing.T, f func() error) {
	t.Helper()
	if err := netns.Do(n.path, f); err != nil {
		t.Fatal(err)
	}
}

// tap makes a persistent tap that is up.
func (n *namespace) tap(t *testing.T, name string) {
	t.Helper()
	if err := tap.Make(n.path, name); err != nil {
		t.Fatal(err)
	}
	n.in(t, func() error {
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		req.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
	})
}

// capture is a packet socket on an interface.
type capture int

func (n *namespace) listen(t *testing.T, name string) (c capture) {
	t.Helper()
	n.in(t, func() error {
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			return err
		}
		c = capture(fd)
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
	})
	t.Cleanup(func() { unix.Close(int(c)) })
	return c
}

// from waits for a frame whose source is mac.
func (c capture) from(t *testing.T, mac string) bool {
	t.Helper()
	frame := make([]byte, 2048)
	for {
		n, err := unix.Read(int(c), frame)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Logf("capture: %v", err)
			return false
		}
		if n >= 12 && string(frame[6:12]) == mac {
			return true
		}
	}
}
