package libvirt_test

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux"
	"golang.org/x/sys/unix"
)

// network is a network of a fabric's, in a namespace of its own below that of
// libvirtd, with what the fabric did to the host since it was last asked.
type network struct {
	*lab
	netfab.Network
	fabric  *linux.Fabric
	changes []string
}

func newNetwork(l *lab, ports int) *network {
	l.Helper()
	n := &network{lab: l}
	dir := filepath.Join(l.dir, "netns")
	l.Cleanup(func() {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			unix.Unmount(filepath.Join(dir, e.Name()), unix.MNT_DETACH)
		}
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	})
	var err error
	n.fabric, err = linux.New(linux.Config{
		Tag: "test/libvirt", NetNSDir: dir, HostNetNS: l.virt.NetNS, Resync: -1, // each Apply looks at everything
		Hook: func(what string) error { n.changes = append(n.changes, what); return nil },
	})
	l.must(err)
	l.Cleanup(func() { n.fabric.Close() })
	n.Network = netfab.Network{
		ID: "00000000-0000-4000-8000-000000000001", VNI: 1, MTU: 1400, Prefix: netip.MustParsePrefix("10.0.0.0/24"),
		Router: netfab.Router{Addr: netip.MustParseAddr("10.0.0.1"), MAC: "02:00:01:00:00:01"},
	}
	for i := range ports {
		n.Ports = append(n.Ports, netfab.Port{
			ID: fmt.Sprintf("10000000-0000-4000-8000-%012d", i), MAC: fmt.Sprintf("02:00:00:00:00:%02x", 10+i),
			Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}),
		})
	}
	n.apply()
	return n
}

// apply returns what there was to do.
func (n *network) apply() []string {
	n.Helper()
	n.changes = nil
	n.must(n.fabric.Apply(n.ctx, netfab.Desired{Networks: []netfab.Network{n.Network}}))
	return n.changes
}

func (n *network) nic(port int) driver.NIC {
	at := n.fabric.Attachment(n.ID, n.VNI, n.Ports[port].ID)
	return driver.NIC{Tap: at.Tap, NetNS: at.NetNS, MAC: n.Ports[port].MAC, Model: "virtio", MTU: n.MTU}
}

// links are the names of the interfaces in a namespace, and what they are.
func links(t *testing.T, ns string) map[string]string {
	t.Helper()
	all := map[string]string{}
	inNetNS(t, ns, func() error {
		b, err := os.ReadFile("/proc/thread-self/net/dev")
		for _, line := range strings.Split(string(b), "\n")[2:] {
			if name, rest, ok := strings.Cut(line, ":"); ok {
				all[strings.TrimSpace(name)] = strings.TrimSpace(rest)
			}
		}
		return err
	})
	return all
}

// away are the taps of ours in a namespace that are not where they belong.
func away(t *testing.T, ns string) (list []string) {
	for name := range links(t, ns) {
		if strings.HasPrefix(name, "sfv") {
			list = append(list, name)
		}
	}
	return list
}

// A guest is connected to a network in another namespace than libvirtd's: its
// frames reach another guest, what it may not send does not, and the fabric finds
// everything as it left it. What an interrupted start has left is cleaned up.
func TestNetwork(t *testing.T) {
	l := newLab(t, nil)
	n := newNetwork(l, 2)
	var machines []driver.Spec
	for i := range n.Ports {
		s := pc.Guest(t, l.dir, i+1)
		s.NICs = []driver.NIC{n.nic(i)}
		machines = append(machines, s)
	}
	// As if the driver had died between two steps of an earlier start.
	makeTap(t, l.virt.NetNS, libvirt.AwayName(machines[0].ID, 0))
	makeTap(t, machines[1].NICs[0].NetNS, libvirt.AwayName(machines[1].ID, 0))

	var consoles []*guest.Console
	for _, s := range machines {
		l.run(s)
		if did := n.apply(); len(did) != 0 {
			t.Errorf("after a start the fabric had to do: %q", did)
		}
	}
	if left := append(away(t, l.virt.NetNS), away(t, machines[0].NICs[0].NetNS)...); len(left) != 0 {
		t.Errorf("taps in the wrong place: %q", left)
	}
	for i, s := range machines {
		consoles = append(consoles, l.console(s.ID))
		n.types(consoles[i], true, fmt.Sprintf("ifconfig eth0 %s netmask 255.255.255.0 up", n.Ports[i].Addr))
	}
	a, b := consoles[0], consoles[1]
	n.types(a, true, "[ $(cat /sys/class/net/eth0/mtu) = 1400 ]")
	n.types(a, true, "ping -c 1 -W 30 10.0.0.11")
	n.types(b, true, "ping -c 1 -W 30 -s 1372 10.0.0.10")
	n.isSpoof(machines, a, "ip addr add 10.0.0.99/32 dev eth0", "ping -c 2 -W 1 -I 10.0.0.99 10.0.0.11")
	n.isSpoof(machines, a, setMAC+"02:00:00:00:00:99"+setUp, "ping -c 2 -W 1 10.0.0.11")
	n.types(a, true, setMAC+"02:00:00:00:00:0a"+setUp)
	n.types(a, true, "ping -c 1 -W 30 10.0.0.11")

	st, err := l.h.Stats(l.ctx, machines[0].ID)
	l.must(err)
	if st.SentBytes < 1400 || st.ReceivedBytes < 1400 || st.CPUNanoseconds == 0 || st.MemoryBytes == 0 || st.ReadBytes == 0 {
		t.Errorf("after all that the guest used %+v", st)
	}
	// The taps outlive their machine, and the next start finds them.
	l.must(l.h.Stop(l.ctx, machines[0].ID, driver.Force))
	if did := n.apply(); len(did) != 0 {
		t.Errorf("after a stop the fabric had to do: %q", did)
	}
	l.must(l.h.Start(l.ctx, machines[0].ID))
	a = l.console(machines[0].ID)
	n.types(a, true, "ifconfig eth0 10.0.0.10 netmask 255.255.255.0 up")
	n.types(a, true, "ping -c 1 -W 30 10.0.0.11")
	l.must(l.h.Destroy(l.ctx, machines[0].ID))
	if did := n.apply(); len(did) != 0 {
		t.Errorf("after a destroy the fabric had to do: %q", did)
	}
}

// A start without its tap fails, says which, and leaves nothing.
func TestTapMissing(t *testing.T) {
	l := newLab(t, nil)
	n := newNetwork(l, 1)
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	s.NICs = []driver.NIC{n.nic(0)}
	s.NICs[0].Tap = "sfnone"
	l.must(l.h.Create(l.ctx, s))
	if err := l.h.Start(l.ctx, s.ID); err == nil || !strings.Contains(err.Error(), "sfnone") {
		t.Errorf("starting without a tap: %v", err)
	}
	l.is(s.ID, driver.Defined)
	if left := append(away(t, l.virt.NetNS), away(t, s.NICs[0].NetNS)...); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// A tap in libvirtd's own namespace is used where it is.
func TestTapOfTheHost(t *testing.T) {
	l := newLab(t, nil)
	makeTap(t, l.virt.NetNS, "sfhost0")
	before := slices.Sorted(maps.Keys(links(t, l.virt.NetNS)))
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	s.NICs = []driver.NIC{{Tap: "sfhost0", NetNS: l.virt.NetNS, MAC: "02:00:00:00:00:01", Model: "e1000"}}
	l.run(s)
	if after := slices.Sorted(maps.Keys(links(t, l.virt.NetNS))); !slices.Equal(before, after) {
		t.Errorf("a start turned %q into %q", before, after)
	}
}

const (
	setMAC = "ip link set eth0 down && ip link set eth0 address "
	setUp  = " && ip link set eth0 up"
)

// isSpoof has the first machine pretend to be another, and looks for anything of
// that at the second one.
func (n *network) isSpoof(machines []driver.Spec, c *guest.Console, pretend, send string) {
	n.Helper()
	n.types(c, true, pretend)
	var before, after [2]driver.Stats
	for i := range machines {
		var err error
		before[i], err = n.h.Stats(n.ctx, machines[i].ID)
		n.must(err)
	}
	n.types(c, false, send)
	for i := range machines {
		var err error
		after[i], err = n.h.Stats(n.ctx, machines[i].ID)
		n.must(err)
	}
	if after[0].SentBytes == before[0].SentBytes || after[1].ReceivedBytes != before[1].ReceivedBytes {
		n.Errorf("%s; %s: from %+v to %+v", pretend, send, before, after)
	}
}

// types runs a command in a guest, which shall succeed or not.
func (n *network) types(c *guest.Console, succeed bool, command string) {
	n.Helper()
	out, status, err := c.Run(n.ctx, command)
	n.must(err)
	if (status == 0) != succeed {
		n.Errorf("%s: status %d: %s", command, status, out)
	}
}
