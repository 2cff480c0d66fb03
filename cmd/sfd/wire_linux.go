package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/image"
	"github.com/shakenfist/cloud/store"
)

// host is everything that a cloud stands on here, and how to let go of it.
type host struct {
	store      store.Store
	tag        string // of ownership
	node       string
	hypervisor driver.Hypervisor
	images     *image.Cache
	volumes    *image.Local
	fabric     *linux.Fabric
	peers      *peers // nil on a cloud of one machine
	closers    []func() error
}

// onClose adds what Close does, last first.
func (h *host) onClose(f func() error) { h.closers = append(h.closers, f) }

// Close lets go of the host; machines and networks stay.
func (h *host) Close() error {
	var errs []error
	for _, f := range slices.Backward(h.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// openHost locks and opens everything, in an order in which nothing of the
// host's is touched before it is certain whose it is.
func openHost(ctx context.Context, c *config, log *slog.Logger) (_ *host, err error) {
	h := &host{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	lock, err := lockDir(ctx, c)
	if err != nil {
		return nil, err
	}
	h.onClose(lock.Close)
	if err := h.openRecords(ctx, c, log); err != nil {
		return nil, err
	}
	hostLock, err := lockHost(ctx, h.tag)
	if err != nil {
		return nil, err
	}
	h.onClose(hostLock.Close)
	if err := probeKernel(ctx, c.path("probe"), c.nodeIP.IsValid()); err != nil {
		return nil, err
	}
	if c.nodeIP.IsValid() {
		if h.peers, err = newPeers(c, h.node); err != nil {
			return nil, err
		}
	}
	if err := h.openDrivers(ctx, c, log); err != nil {
		return nil, err
	}
	return h, nil
}

// openRecords opens the store and makes sure that its cloud is the one whose
// machines run here.
func (h *host) openRecords(ctx context.Context, c *config, log *slog.Logger) error {
	known, err := readIdentity(c)
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	if h.node, err = nodeName(c, known, hostname, log); err != nil {
		return err
	}
	if h.store, err = openStore(ctx, c, log); err != nil {
		return err
	}
	h.onClose(h.store.Close)
	// Without a node: nothing on the host moves before we know whose it is.
	cloud, err := sf.Open(ctx, cloudConfig(c, h, log))
	if err != nil {
		return err
	}
	defer cloud.Close()
	if known.Cloud == "" {
		if err := errors.Join(foreign(ctx, c, cloud), nameTaken(ctx, c, cloud, h.node)); err != nil {
			return err
		}
	}
	is := identity{Cloud: cloud.ID(), Node: h.node}
	h.tag = is.tag()
	return known.confirm(c, is)
}

func (h *host) openDrivers(ctx context.Context, c *config, log *slog.Logger) (err error) {
	if h.hypervisor, err = openHypervisor(ctx, c, h.tag, log); err != nil {
		return err
	}
	h.onClose(h.hypervisor.Close)
	source := image.NewHTTP(image.HTTPConfig{
		Cirros: c.cirrosURL, Ubuntu: c.ubuntuURL, Debian: c.debianURL, UserAgent: "shakenfist/" + versionText(),
		Cloud: ownMachines(ctx, c, h.peers),
	})
	h.onClose(source.Close)
	images := image.CacheConfig{Source: source, Log: log}
	if h.peers != nil {
		images.Neighbour = h.peers.To
	}
	if h.images, err = image.NewCache(c.path("image_cache"), images); err != nil {
		return err
	}
	if h.volumes, err = image.NewLocal(c.path("instances"), image.LocalConfig{Cache: h.images}); err != nil {
		return err
	}
	if c.virt == "libvirt" {
		if err := letThrough(c.dataDir); err != nil {
			return err
		}
	}
	h.fabric, err = linux.New(linux.Config{Tag: h.tag, NetNSDir: c.netnsDir, Resync: fabricResync, Logger: log})
	if err != nil {
		return err
	}
	h.onClose(h.fabric.Close)
	return h.introduce(ctx, c, log)
}

// fabricResync is a little less than the time between two looks of the agent at its
// networks, so that each look is one at the kernel: what nobody tells of, such as a
// setting, is right again after ten seconds.
const fabricResync = 9 * time.Second

// libvirtPatience is how long a start waits for libvirtd to say what it can do.
const libvirtPatience = 20 * time.Second

// openHypervisor opens what the option names. The other one must have no machines
// here: they would run on, and nobody would know them.
func openHypervisor(ctx context.Context, c *config, tag string, log *slog.Logger) (driver.Hypervisor, error) {
	if err := onlyHypervisor(c); err != nil {
		return nil, err
	}
	below := []string{image.FilesIn(c.path("image_cache"))}
	if c.virt == "libvirt" {
		h, err := libvirt.New(ctx, libvirt.Config{Dir: c.path("libvirt"), Socket: c.libvirtSocket, Owner: tag, Accel: c.accel, Below: below, Log: log})
		if err != nil {
			return nil, err
		}
		known, cancel := context.WithTimeout(ctx, libvirtPatience)
		defer cancel()
		if _, err := h.Info(known); err != nil {
			return nil, errors.Join(fmt.Errorf("--hypervisor libvirt: no libvirtd that works at %s: %w; install libvirt-daemon-system and "+
				"libvirt-daemon-driver-qemu and start libvirtd, or say --libvirt-socket", c.libvirtSocket, err), h.Close())
		}
		return h, nil
	}
	return qemu.New(ctx, qemu.Config{
		Dir: c.path("machines"), Binary: c.qemu, Accel: c.accel, UIDBase: c.uidBase, Cgroup: cgroup(tag), Below: below, Log: log,
	})
}

// onlyHypervisor refuses to start over machines of the other driver.
func onlyHypervisor(c *config) error {
	other, pattern := "libvirt", c.path("libvirt/*.json")
	if c.virt == "libvirt" {
		other, pattern = "qemu", c.path("machines/machines/*/spec.json")
	}
	left, err := filepath.Glob(pattern)
	if err != nil || len(left) == 0 {
		return err
	}
	return fmt.Errorf("--hypervisor %s: %d instances of this host are machines of --hypervisor %s: delete them first, or start with that", c.virt, len(left), other)
}

// letThrough lets the user that libvirt runs machines under pass a directory, but
// not list it: of what is inside it has only the disks that libvirt gives it.
func letThrough(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, st.Mode().Perm()|0o011)
}

// cgroup is the name of the control group above those of our machines.
func cgroup(tag string) string { return "sf-" + netfab.ShortTag(tag) }

// introduce says what the host offers, and refuses what it cannot.
func (h *host) introduce(ctx context.Context, c *config, log *slog.Logger) error {
	info, err := h.hypervisor.Info(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(info.Buses, c.diskBus) {
		return fmt.Errorf("--disk-bus %s: this hypervisor has only %s", c.diskBus, strings.Join(info.Buses, ", "))
	}
	log.Info("machines run", "on", info.Driver, "version", info.Version, "accel", info.Accel, "because", info.AccelReason,
		"cpus", info.CPUs, "memory_mib", info.MemoryMiB)
	for _, note := range info.Notes {
		log.Warn("this host has shortcomings", "note", note)
	}
	return nil
}

// cloudConfig is the cloud over the host's store, without its node.
func cloudConfig(c *config, h *host, log *slog.Logger) sf.Config {
	return sf.Config{
		Store: h.store, FloatingNetwork: c.floating, DNS: c.dns, NoNames: c.noNames, Zone: c.zone,
		DiskBus: c.diskBus, DeletedFor: c.cleanerDelay, Logger: log,
	}
}

// nodeConfig is this machine as the cloud's node.
func nodeConfig(c *config, h *host) (*sf.NodeConfig, error) {
	var raw *sf.RawPorts
	if c.rawAddress.IsValid() {
		raw = &sf.RawPorts{Address: c.rawAddress}
	}
	n := &sf.NodeConfig{
		RawPorts: raw, Name: h.node, Hypervisor: h.hypervisor, Volumes: h.volumes, Fabric: h.fabric,
		Address: c.nodeIP, Uplink: c.egressNIC, Outside: c.outside, CPUOvercommit: c.cpuOvercommit,
		MemoryOvercommit: c.ramOvercommit, ReservedMemoryMiB: c.ramReserved,
		MinFreeDisk: int64(c.minFreeDisk) << 30, Version: versionText(), MTU: mtuOf(c.nodeIP), SessionTTL: c.nodeTimeout,
	}
	if !c.nodeIP.IsValid() {
		return n, nil
	}
	n.Peers, n.EndpointKey = h.peers, h.peers.fingerprint
	n.Endpoint = netip.AddrPortFrom(c.nodeIP, uint16(c.peerPort)).String()
	g, err := newGuard(c, c.args)
	if g != nil {
		n.Guard, n.SelfFence = g, c.selfFence
	}
	return n, err
}

// mtuOf is the MTU of the device that has an address; 0 where there is none.
func mtuOf(a netip.Addr) int {
	devices, err := net.Interfaces()
	if err != nil || !a.IsValid() {
		return 0
	}
	for _, d := range devices {
		addresses, err := d.Addrs()
		if err != nil {
			continue
		}
		for _, have := range addresses {
			if p, err := netip.ParsePrefix(have.String()); err == nil && p.Addr() == a {
				return d.MTU
			}
		}
	}
	return 0
}
