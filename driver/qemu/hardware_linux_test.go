package qemu_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
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
	pc.Hardware{
		Info: info, Dir: l.dir, Serial: `s"1,`,
		Tap: func(t *testing.T, name string) string { ns.tap(t, name); return ns.path },
		Run: func(t *testing.T, s driver.Spec) {
			sub := *l
			sub.T = t
			sub.run(s)
			sub.must(l.h.Stop(l.ctx, s.ID, driver.Force))
		},
	}.Each(t)
}

func TestUEFI(t *testing.T) {
	l := newLab(t, nil)
	pc.UEFI(l.ctx, t, l.h, l.dir)
}

// The guest sees its disks with their sizes and serials, cannot write to what is
// read-only, reads through a chain of backing files, and its network card sends
// into its tap.
func TestGuestHardware(t *testing.T) {
	l := newLab(t, nil)
	ns := newNamespace(t)
	ns.tap(t, "sftap0")
	s := pc.Guest(t, l.dir, 1)
	s.NICs = []driver.NIC{{Tap: "sftap0", NetNS: ns.path, MAC: "02:00:00:ab:cd:ef", Model: "virtio", MTU: 1400}}
	pc.AddLayers(t, l.dir, &s, 0o600)

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
	pc.SeesLayers(l.ctx, t, c)
	pc.Says(l.ctx, t, c, "cat /sys/class/net/eth0/address", "02:00:00:ab:cd:ef")
	pc.Says(l.ctx, t, c, "cat /sys/class/net/eth0/mtu", "1400")
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
