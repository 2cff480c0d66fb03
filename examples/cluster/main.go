//go:build linux

// Command cluster is behind `make cluster` and `make cluster-down`: a cloud of
// several machines on one. Each is a network namespace with an address on an
// underlay, an sfd with everything of its own, QEMU or a libvirtd, and on the first
// three a member of an etcd. Nothing of it is in the host's own network namespace
// but a port on loopback for each machine's API.
//
//	cluster [options] up           starts it; a process that stays looks after it
//	cluster [options] start NODE   starts what of a machine has been killed
//	cluster [options] down         ends it, whatever is left of it, and shows that nothing is
//
// It needs root, and the programs in bin (`make build`).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shakenfist/cloud/driver/libvirt/libvirtd"
)

func main() {
	libvirtd.Main()
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // su leaves them out
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(os.Stdout)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "Usage: cluster [options] up | down | start NODE\n\n")
		flags.PrintDefaults()
	}
	var o options
	flags.StringVar(&o.dir, "dir", defaultDir, "directory that everything is in; it must not exist yet")
	flags.StringVar(&o.prefix, "prefix", "sf-", "what the names of nodes and of their network namespaces begin with")
	flags.IntVar(&o.nodes, "nodes", 3, "how many machines, 1 to 9; from three on the first three have an etcd, else the first")
	flags.StringVar(&o.hypervisor, "hypervisor", "qemu", "what starts machines: qemu, or libvirt, which is a libvirtd for each node")
	flags.StringVar(&o.bin, "bin", "bin", "directory with sfd and sf-client")
	more := flags.String("sfd", "", "more options of every sfd, such as \"--accel tcg --log-level debug\"")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.more = strings.Fields(*more)
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	o.dir = dir
	words := flags.Args()
	switch {
	case len(words) == 0 || words[0] != "start" && len(words) > 1 || words[0] == "start" && len(words) != 2:
		flags.Usage()
		return errors.New("want up, down, or start NODE")
	case os.Geteuid() != 0:
		return errors.New("must run as root, as sfd must: sudo make cluster")
	}
	switch words[0] {
	case "up":
		return up(ctx, o)
	case "down":
		return down(ctx, o.dir)
	case "start":
		return startAgain(ctx, o.dir, words[1])
	case superviseVerb:
		return supervise(ctx, o.dir)
	}
	flags.Usage()
	return fmt.Errorf("what is %q? want up, down, or start NODE", words[0])
}
