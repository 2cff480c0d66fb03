//go:build linux

package linux

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// world is a host of the test's own: a namespace that stands for the host, with
// an uplink to another that stands for the internet.
type world struct {
	t        testing.TB
	dir      string
	host     *netns.NS
	internet *netns.NS
}

// Addresses of the world. The far address is beyond the first hop.
var (
	hostUplink = netip.MustParsePrefix("203.0.113.2/24")
	firstHop   = netip.MustParsePrefix("203.0.113.1/24")
	far        = netip.MustParsePrefix("198.51.100.1/32")
	hostLocal  = netip.MustParsePrefix("172.30.0.1/24") // the host's address on some other segment
)

func newWorld(t testing.TB) *world {
	t.Helper()
	need.Root(t)
	need.File(t, "/dev/net/tun", "taps")
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "netns"), host: newNS(t), internet: newNS(t)}
	t.Cleanup(w.unmount)
	h, i := w.conn(w.host), w.conn(w.internet)
	w.do(h, rt.AddLink(rt.Link{Index: 2, Name: "eth0", Up: true}, rt.Veth(rt.Link{Index: 2, Name: "eth0"}, w.internet.Fd()), 0)...)
	w.do(h, rt.SetLink(rt.Link{Name: "lo", Up: true}), rt.AddAddr(2, hostUplink), rt.SetDefault(2, firstHop.Addr()))
	w.do(h, rt.AddLink(rt.Link{Index: 3, Name: "lan0", MAC: mac("02:00:00:00:00:03"), Up: true}, &rt.Bridge{}, 0)...)
	w.do(h, rt.AddAddr(3, hostLocal))
	if err := w.host.Do(func() error {
		return netns.Set([]netns.Sysctl{{Path: "ipv6/conf/eth0/disable_ipv6", Value: "1"}, {Path: "ipv6/conf/lan0/disable_ipv6", Value: "1"}})
	}); err != nil { // but not for what will come: that is the fabric's to do
		t.Fatal(err)
	}
	w.do(i, rt.SetLink(rt.Link{Name: "lo", Up: true}), rt.SetLink(rt.Link{Index: 2, Name: "eth0", Up: true}), rt.AddAddr(2, firstHop), rt.AddAddr(1, far))
	return w
}

func newNS(t testing.TB) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func (w *world) conn(ns *netns.NS) *rt.Conn {
	w.t.Helper()
	c, err := rt.Dial(ns.Fd())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) do(c *rt.Conn, requests ...rt.Request) {
	w.t.Helper()
	if err := c.Do(requests...); err != nil {
		w.t.Fatal(err)
	}
}

// unmount removes the names that a failed test left, and the directory's mount.
func (w *world) unmount() {
	entries, _ := os.ReadDir(w.dir)
	for _, e := range entries {
		netns.Unmount(filepath.Join(w.dir, e.Name()))
	}
	for unix.Unmount(w.dir, unix.MNT_DETACH) == nil {
	}
}

// fabric opens a fabric on the world's host.
func (w *world) fabric(cfg Config) *Fabric {
	w.t.Helper()
	if cfg.Tag == "" {
		cfg.Tag = "test/" + w.t.Name()
		if len(cfg.Tag) > 64 {
			cfg.Tag = cfg.Tag[:64]
		}
	}
	cfg.NetNSDir, cfg.HostNetNS = w.dir, fmt.Sprintf("/proc/self/fd/%d", w.host.Fd())
	f, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	return f
}

func (w *world) apply(f netfab.Fabric, want netfab.Desired) {
	w.t.Helper()
	if err := f.Apply(context.Background(), want); err != nil {
		w.t.Fatal(err)
	}
}

// outside is the floating block of all tests.
var outside = netfab.Outside{Prefix: netip.MustParsePrefix("192.168.20.0/24")}

// network number i: every one has the same block; guests are .10 and up.
func network(i, ports int) netfab.Network {
	n := netfab.Network{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), VNI: uint32(i), MTU: 1450,
		Prefix:  netip.MustParsePrefix("10.0.0.0/24"),
		Router:  netfab.Router{Addr: netip.MustParseAddr("10.0.0.1"), MAC: fmt.Sprintf("02:00:01:00:%02x:%02x", i>>8, i&255)},
		Gateway: &netfab.Gateway{Addr: netip.AddrFrom4([4]byte{192, 168, 20, byte(9 + i)}), NAT: true},
	}
	for p := range ports {
		n.Ports = append(n.Ports, netfab.Port{
			ID:   fmt.Sprintf("10000000-%04d-4000-8000-%012d", i, p),
			MAC:  fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>8, i&255, 10+p),
			Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + p)}),
		})
	}
	return n
}
