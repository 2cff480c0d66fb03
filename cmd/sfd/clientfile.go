package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
)

// deployKey is the name of the system namespace's key that the client file has: each
// machine of several has one of its own.
func deployKey(c *config, cloud *sf.Cloud) string {
	if node := cloud.Config().Node; c.shared() && node != nil {
		return "deploy-" + node.Name
	}
	return "deploy"
}

// provideClientFile sees to it that the client file works: a file whose key is
// good is kept, one that is gone is made with a new key. So root on this host,
// who may remove the file, can always get back in. A file for another cloud is
// left alone.
func provideClientFile(ctx context.Context, cloud *sf.Cloud, c *config, url string, log *slog.Logger) error {
	have, err := client.ReadFile(c.clientFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newKey(ctx, cloud, c, url, log)
	case err != nil:
		return fmt.Errorf("client file: %w; remove it to have a new one made", err)
	}
	_, err = cloud.Authenticate(ctx, have.Namespace, have.Key)
	switch {
	case errors.Is(err, sf.ErrUnauthorized):
		return strange(ctx, cloud, c, have, url, log)
	case err != nil:
		return fmt.Errorf("check the key in %s: %w", c.clientFile, err)
	case have.URL == url:
		return nil
	}
	log.Info("the API has another address now", "client_file", c.clientFile, "was", have.URL, "is", url)
	have.URL = url
	return writeClientFile(c.clientFile, have)
}

// strange handles a client file whose key is not one of this cloud's. One for the
// URL that we listen on can only be ours.
func strange(ctx context.Context, cloud *sf.Cloud, c *config, have client.Config, url string, log *slog.Logger) error {
	if have.URL == url && have.Namespace == sf.System {
		log.Warn("the key in the client file is none of this cloud's; making a new one", "client_file", c.clientFile)
		return newKey(ctx, cloud, c, url, log)
	}
	system, err := cloud.Namespace(ctx, sf.System)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(system.Keys, func(k sf.Key) bool { return k.Name == deployKey(c, cloud) }) {
		log.Warn("the client file is for another cloud and is left alone", "client_file", c.clientFile, "apiurl", have.URL)
		return nil
	}
	return fmt.Errorf("the client file %s is for another cloud (%s): move it away, or say --client-file to have this cloud's key put elsewhere",
		c.clientFile, have.URL)
}

// newKey makes a key and writes it. The key comes first: after a crash in between
// there is no file, and the next start makes both anew.
func newKey(ctx context.Context, cloud *sf.Cloud, c *config, url string, log *slog.Logger) error {
	fresh := client.Config{Namespace: sf.System, Key: rand.Text() + rand.Text(), URL: url}
	name := deployKey(c, cloud)
	if err := cloud.SetKey(ctx, sf.System, name, fresh.Key); err != nil {
		return fmt.Errorf("set key %q of namespace %s: %w", name, sf.System, err)
	}
	if err := os.MkdirAll(filepath.Dir(c.clientFile), 0o755); err != nil {
		return fmt.Errorf("client file: %w", err)
	}
	if err := writeClientFile(c.clientFile, fresh); err != nil {
		return err
	}
	log.Info("made a key for sf-client", "client_file", c.clientFile, "namespace", sf.System, "key_name", name)
	return nil
}

func writeClientFile(path string, f client.Config) error {
	data, err := json.MarshalIndent(f, "", "    ")
	if err != nil {
		return err
	}
	if err := writeFile(path, append(data, '\n')); err != nil {
		return fmt.Errorf("client file: %w", err)
	}
	return nil
}
