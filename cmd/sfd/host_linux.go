package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux"
)

// checkHost finds what is missing before anything is touched, one line each.
func checkHost(c *config) error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root: it makes network devices and namespaces, writes firewall rules and starts QEMU under other users")
	}
	if _, err := exec.LookPath(c.qemu); err != nil {
		return fmt.Errorf("no QEMU: %w; install the Debian package qemu-system-x86, or say --qemu", err)
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("no taps for machines: %w; load the module tun (in a container, pass the device in)", err)
	}
	tun.Close()
	if c.egressNIC != "" {
		if _, err := net.InterfaceByName(c.egressNIC); err != nil {
			return fmt.Errorf("--node-egress-nic %s: this machine has no such network device", c.egressNIC)
		}
	}
	return checkAddress(c.nodeIP)
}

func checkAddress(want netip.Addr) error {
	if !want.IsValid() {
		return nil
	}
	have, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("addresses of this machine: %w", err)
	}
	for _, a := range have {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == want {
			return nil
		}
	}
	return fmt.Errorf("--node-ip %s: no network device of this machine has this address", want)
}

// probeTimeout is a safety net: the probe takes some 50 ms.
const probeTimeout = 20 * time.Second

// probeKernel makes one of each kind of device and rule in a network namespace
// that nobody sees and that goes with its last descriptor. What the kernel lacks
// is better found here than by the first instance. The namespace's networks have
// their names in a directory of the caller's, which also gets rid of those that a
// process left behind that was killed in the middle of this.
func probeKernel(ctx context.Context, names string, mesh bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	ns, err := newNetNS()
	if err != nil {
		return fmt.Errorf("this kernel makes no network namespaces: %w", err)
	}
	defer ns.Close()
	if err := endProbe(names); err != nil {
		return err
	}
	if err := os.MkdirAll(names, 0o700); err != nil {
		return err
	}
	fabric, err := linux.New(linux.Config{
		Tag: fmt.Sprintf("probe/%d", os.Getpid()), NetNSDir: names, HostNetNS: fmt.Sprintf("/proc/self/fd/%d", ns.Fd()),
	})
	if err != nil {
		return err
	}
	defer fabric.Close()
	defer func() {
		err = errors.Join(err, fabric.Apply(context.WithoutCancel(ctx), netfab.Desired{}), endProbe(names))
	}()
	for _, want := range probes(mesh) {
		if err := fabric.Apply(ctx, want); err != nil {
			return fmt.Errorf("this kernel lacks what networks need (bridge, veth, tun, vxlan, nf_tables with nat and limit, nf_conntrack_netlink): %w; "+
				"Debian's linux-image-amd64 has all of it", err)
		}
	}
	return nil
}

// endProbe removes a probe's directory with whatever is mounted there.
func endProbe(names string) error {
	for {
		err := unix.Unmount(names, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
			continue // there may be another one below
		case errors.Is(err, unix.EINVAL), errors.Is(err, fs.ErrNotExist):
			return os.RemoveAll(names)
		}
		return fmt.Errorf("unmount %s: %w", names, err)
	}
}

// probes are fabrics that use everything. The mesh stands on the address that the
// first of them brings.
func probes(mesh bool) []netfab.Desired {
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	plain := netfab.Desired{
		Outside: netfab.Outside{Prefix: prefix},
		Networks: []netfab.Network{{
			ID: "00000000-0000-4000-8000-000000000000", VNI: 1, Prefix: netip.MustParsePrefix("198.51.100.0/24"),
			Router:  netfab.Router{Addr: netip.MustParseAddr("198.51.100.1"), MAC: "02:00:00:00:00:01"},
			Ports:   []netfab.Port{{ID: "probe", MAC: "02:00:00:00:00:02", Addr: netip.MustParseAddr("198.51.100.2")}},
			Gateway: &netfab.Gateway{Addr: netip.MustParseAddr("192.0.2.2"), NAT: true},
		}},
	}
	// A router that goes takes its connections along.
	routerless := plain
	routerless.Networks = []netfab.Network{plain.Networks[0].Clone()}
	routerless.Networks[0].Gateway = nil
	if !mesh {
		return []netfab.Desired{plain, routerless}
	}
	meshed := plain
	meshed.Underlay.Addr = netfab.First(prefix)
	return []netfab.Desired{plain, routerless, meshed}
}

// newNetNS makes a network namespace that lives as long as the file.
func newNetNS() (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		done <- result{file, err}
	}()
	r := <-done
	return r.file, r.err
}

// unmount takes away a directory that the fabric made a mount point of its own.
func unmount(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}
