package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

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
	file, err := client.ReadFile(c.clientFile)
	if err != nil { // gone, or not one that we wrote
		return nil
	}
	if _, err := cloud.Authenticate(ctx, file.Namespace, file.Key); err != nil {
		return nil // another cloud's
	}
	return os.Remove(c.clientFile)
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
		return fmt.Errorf("%d instances and %d networks are on this host: delete them first (sf-client instance delete-all, network delete-all)",
			len(machines), len(have.Networks))
	}
	return nil
}
