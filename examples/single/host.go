//go:build linux

package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/image"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
	"golang.org/x/sys/unix"
)

// host is what a real cloud stands on. cmd/sfd does the same for good: with the
// records in a file, a fixed ownership tag, and locks.
type host struct {
	store      store.Store
	hypervisor *qemu.Hypervisor
	volumes    *image.Local
	fabric     *linux.Fabric
	closers    []func() error
}

func openHost(ctx context.Context, dir, netns string) (h *host, err error) {
	h = &host{store: memory.New(memory.Config{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	h.closers = append(h.closers, h.store.Close)
	h.hypervisor, err = qemu.New(ctx, qemu.Config{Dir: filepath.Join(dir, "machines"), UIDBase: 500000, Cgroup: "none"})
	if err != nil {
		return h, err
	}
	h.closers = append(h.closers, h.hypervisor.Close)
	source := image.NewHTTP(image.HTTPConfig{})
	h.closers = append(h.closers, source.Close)
	cache, err := image.NewCache(filepath.Join(dir, "images"), image.CacheConfig{Source: source})
	if err != nil {
		return h, err
	}
	if h.volumes, err = image.NewLocal(filepath.Join(dir, "instances"), image.LocalConfig{Cache: cache}); err != nil {
		return h, err
	}
	names := filepath.Join(dir, "netns") // of namespaces; a mount point of its own
	h.fabric, err = linux.New(linux.Config{Tag: "example/single", NetNSDir: names, HostNetNS: netns})
	if err != nil {
		return h, err
	}
	h.closers = append(h.closers, h.fabric.Close, func() error {
		err := h.fabric.Apply(context.WithoutCancel(ctx), netfab.Desired{}) // nothing of ours stays on the host
		return errors.Join(err, ignore(unix.Unmount(names, unix.MNT_DETACH), unix.EINVAL, unix.ENOENT))
	})
	return h, nil
}

// node describes the host to the cloud.
func (h *host) node() *sf.NodeConfig {
	return &sf.NodeConfig{Name: "single", Hypervisor: h.hypervisor, Volumes: h.volumes, Fabric: h.fabric}
}

// Close undoes openHost, last first.
func (h *host) Close() error {
	var errs []error
	for _, f := range slices.Backward(h.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// ignore is err unless it is one of those that do not matter.
func ignore(err error, harmless ...error) error {
	if slices.ContainsFunc(harmless, func(h error) bool { return errors.Is(err, h) }) {
		return nil
	}
	return err
}
