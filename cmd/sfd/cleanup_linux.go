package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
)

// cleanup takes from the host what sfd made outside of its data directory. The
// data directory is for its owner to remove.
func cleanup(ctx context.Context, c *config, log *slog.Logger) (err error) {
	if err := checkHost(c); err != nil {
		return err
	}
	if _, err := os.Stat(c.path(storeName)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is no data directory of sfd: nothing to clean up", c.dataDir)
	}
	h, err := openHost(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	cloud, err := sf.Open(ctx, cloudConfig(c, h, log))
	if err != nil {
		return err
	}
	defer cloud.Close()
	if err := unused(ctx, h); err != nil {
		return err
	}
	if err := h.fabric.Apply(ctx, netfab.Desired{}); err != nil {
		return err
	}
	return errors.Join(removeCgroups(cgroup(h.tag)), removeNames(c.netnsDir), removeClientFile(ctx, cloud, c.clientFile))
}

// removeClientFile removes the client file if it is this cloud's.
func removeClientFile(ctx context.Context, cloud *sf.Cloud, path string) error {
	file, err := client.ReadFile(path)
	if err != nil { // gone, or not one that we wrote
		return nil
	}
	if _, err := cloud.Authenticate(ctx, file.Namespace, file.Key); err != nil {
		return nil // another cloud's
	}
	return os.Remove(path)
}

// removeNames gives back a directory of our own for namespaces' names.
// /run/netns belongs to the whole host.
func removeNames(dir string) error {
	if filepath.Clean(dir) == "/run/netns" {
		return nil
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		return nil // gone, or others use it
	}
	if err := unmount(dir); err != nil {
		return err
	}
	return os.Remove(dir)
}

// removeCgroups removes the machines' control group from every hierarchy, with
// what machines left in it when they ended.
func removeCgroups(name string) error {
	var errs []error
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		groups, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, group := range groups {
			machines, err := filepath.Glob(group + "/*/cgroup.procs")
			errs = append(errs, err)
			for _, m := range machines {
				errs = append(errs, os.Remove(filepath.Dir(m)))
			}
			errs = append(errs, os.Remove(group))
		}
	}
	return errors.Join(errs...)
}

// unused makes sure that nobody's machine or network is here.
func unused(ctx context.Context, h *host) error {
	machines, err := h.hypervisor.List(ctx)
	if err != nil {
		return err
	}
	have, err := h.fabric.Observe(ctx)
	if err != nil {
		return err
	}
	if len(machines)+len(have.Networks) > 0 {
		return fmt.Errorf("%d instances and %d networks are on this host: delete them first (sf-client instance delete-all --confirm --namespace NAME, then network delete-all)",
			len(machines), len(have.Networks))
	}
	return nil
}
