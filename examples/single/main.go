//go:build linux

// Command single runs one real guest from a Go program, without a daemon: QEMU,
// a network with DHCP and NAT, an image fetched by URL, and the guest's serial
// console on standard output. At its login prompt everything is deleted again.
//
//	go build -o single ./examples/single && sudo ./single
//	sudo ./single -image cirros
//
// Without -image it builds the small test guest of this module, for which
// `make deps` unpacks the parts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	p := program{out: os.Stdout}
	flag.StringVar(&p.image, "image", "", "boot this image (a URL, cirros, debian:12, …)")
	flag.Parse()
	if err := p.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "single:", err)
		os.Exit(1)
	}
}

type program struct {
	image string
	netns string // path of the host's network namespace; empty is our own
	out   io.Writer
}

func (p *program) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "sf-single-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if p.image == "" {
		server, err := serveGuest(ctx, dir)
		if err != nil {
			return err
		}
		defer server.Close()
		p.image = server.url
	}
	h, err := openHost(ctx, dir, p.netns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	cloud, err := sf.Open(ctx, sf.Config{Store: h.store, Node: h.node()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cloud.Close()) }()
	return p.boot(ctx, cloud)
}

// boot creates a network and an instance, shows its console, and deletes them.
func (p *program) boot(ctx context.Context, cloud *sf.Cloud) (err error) {
	network, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeNetwork(ctx, cloud, network.UUID)) }()
	instance, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{
		Name: "single", CPUs: 1, MemoryMiB: 256, Disks: []sf.Disk{{SizeGB: 8, Base: p.image}},
		Interfaces: []sf.InterfaceSpec{{Network: network.UUID}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeInstance(ctx, cloud, instance.UUID)) }()
	if _, err = cloud.WaitInstance(ctx, instance.UUID, sf.InstanceCreated); err != nil {
		return err
	}
	console, err := cloud.Console(ctx, instance.UUID)
	if err != nil {
		return err
	}
	defer console.Close()
	screen := guest.NewConsole(struct {
		io.Reader
		io.Writer
	}{io.TeeReader(console, p.out), console})
	_, err = screen.Expect(ctx, "login: ")
	fmt.Fprintf(p.out, "\n(%s is up)\n", instance.Name)
	return err
}

// Deleting goes on after ctx is done: nothing is left behind.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

func removeInstance(ctx context.Context, cloud *sf.Cloud, id string) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := cloud.DeleteInstance(ctx, id); err != nil {
		return err
	}
	_, err := cloud.WaitInstance(ctx, id, sf.InstanceGone)
	return err
}

func removeNetwork(ctx context.Context, cloud *sf.Cloud, id string) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := cloud.DeleteNetwork(ctx, id); err != nil {
		return err
	}
	_, err := cloud.WaitNetwork(ctx, id, sf.NetworkGone)
	return err
}
