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

// reached is how programs on this host reach the API.
type reached struct{ url, fingerprint string }

// provideClientFile sees to it that the client file works: a file whose key is
// good is kept, one that is gone is made with a new key. So root on this host,
// who may remove the file, can always get back in. A file for another cloud is
// left alone.
func provideClientFile(ctx context.Context, cloud *sf.Cloud, c *config, at reached, log *slog.Logger) error {
	have, err := client.ReadFile(c.clientFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newKey(ctx, cloud, c, at, log)
	case err != nil:
		return fmt.Errorf("client file: %w; remove it to have a new one made", err)
	}
	_, err = cloud.Authenticate(ctx, have.Namespace, have.Key)
	switch {
	case errors.Is(err, sf.ErrUnauthorized):
		return strange(ctx, cloud, c, have, at, log)
	case err != nil:
		return fmt.Errorf("check the key in %s: %w", c.clientFile, err)
	case at == reached{have.URL, have.Fingerprint}:
		return nil
	}
	log.Info("the API is reached otherwise now", "client_file", c.clientFile, "was", have.URL, "is", at.url, "fingerprint", at.fingerprint)
	have.URL, have.Fingerprint = at.url, at.fingerprint
	return writeClientFile(c.clientFile, have)
}

// renewClientFile puts another fingerprint into the client file, where it is for us.
func renewClientFile(c *config, at reached, log *slog.Logger) {
	have, err := client.ReadFile(c.clientFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && have.URL != at.url {
		return
	}
	if err == nil {
		have.Fingerprint = at.fingerprint
		err = writeClientFile(c.clientFile, have)
	}
	if err != nil {
		log.Error("the client file still has the former fingerprint of the API", "client_file", c.clientFile, "fingerprint", at.fingerprint, "error", err)
	}
}

// strange handles a client file whose key is not one of this cloud's. One for the
// URL that we listen on can only be ours.
func strange(ctx context.Context, cloud *sf.Cloud, c *config, have client.Config, at reached, log *slog.Logger) error {
	if have.URL == at.url && have.Namespace == sf.System {
		log.Warn("the key in the client file is none of this cloud's; making a new one", "client_file", c.clientFile)
		return newKey(ctx, cloud, c, at, log)
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
func newKey(ctx context.Context, cloud *sf.Cloud, c *config, at reached, log *slog.Logger) error {
	fresh := client.Config{Namespace: sf.System, Key: rand.Text() + rand.Text(), URL: at.url, Fingerprint: at.fingerprint}
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
