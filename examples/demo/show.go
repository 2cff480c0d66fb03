//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// userData is run by the guest when its network is up.
const userData = "#!/bin/sh\necho \"user data of $(hostname) runs on Linux $(uname -r)\"\n"

// begin looks at the host and makes the demonstration's directory.
func (d *demo) begin() (err error) {
	if d.before, err = takeCensus(""); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "sf-demo-"); err != nil {
		return err
	}
	if err := d.before.Save(d.dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "hello.sh"), []byte(userData), 0o644)
}

// show is the demonstration itself.
func (d *demo) show(ctx context.Context) (err error) {
	say("Start the daemon.")
	if d.sfd, err = startDaemon(ctx, d.bin, d.dir); err != nil {
		return err
	}
	fmt.Printf("sfd is process %d; its key for sf-client is in %s\n", d.sfd.pid, d.sfd.clientFile())
	image := d.image
	if image == "" {
		say("Build a guest image (Debian's kernel, busybox, a boot loader) and serve it on loopback.")
		server, err := serveGuest(ctx, d.dir)
		if err != nil {
			return err
		}
		defer server.Close()
		image = server.url
	}
	say("A network, and an instance on it.")
	network, err := d.created(ctx, "network", "create", "10.0.0.0/24", "demo")
	if err != nil {
		return err
	}
	instance, err := d.created(ctx, "instance", "create", "hello", "1", "256",
		"-d", "8@"+image, "-n", network, "-u", filepath.Join(d.dir, "hello.sh"))
	if err != nil {
		return err
	}
	say("Its first boot, until somebody could log in.")
	if _, err := d.client(ctx, "instance", "wait", instance, "--for", "login"); err != nil {
		return err
	}
	return d.look(ctx, network, instance)
}

// look shows a running instance.
func (d *demo) look(ctx context.Context, network, instance string) error {
	say("What it looks like.")
	shown, err := d.client(ctx, "instance", "show", instance)
	if err != nil {
		return err
	}
	if _, err := d.client(ctx, "instance", "events", instance); err != nil {
		return err
	}
	say("The end of its console.")
	console, err := d.client(ctx, "instance", "consoledata", instance, "1500")
	if err != nil {
		return err
	}
	if d.image == "" && !strings.Contains(console, "user data of hello") {
		return errors.New("the console does not show that the guest ran its user data")
	}
	address, err := netip.ParseAddr(field(shown, "ipv4"))
	if err != nil {
		return fmt.Errorf("sf-client shows no address of the instance: %w", err)
	}
	say("Ping it from its router, in the network's namespace.")
	return pingFrom(ctx, filepath.Join(d.dir, "netns"), address, 3)
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// created runs a command that creates something, and returns its UUID.
func (d *demo) created(ctx context.Context, args ...string) (string, error) {
	out, err := d.client(ctx, args...)
	if err != nil {
		return "", err
	}
	id := field(out, "uuid")
	if !uuid.MatchString(id) {
		return "", errors.New("sf-client shows no UUID of what it created")
	}
	return id, nil
}

// field finds "name   : value" in what sf-client prints.
func field(out, name string) string {
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// client runs sf-client as a user would, and shows it.
func (d *demo) client(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("$ sf-client %s\n", strings.Join(args, " "))
	start := time.Now()
	out, err := d.sfd.client(ctx, args...)
	fmt.Printf("%s(%d ms)\n", out, time.Since(start).Milliseconds())
	return out, err
}
