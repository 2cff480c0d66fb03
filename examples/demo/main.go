//go:build linux

// Command demo is the demonstration behind `make demo`: on an otherwise untouched
// host it starts sfd, builds a small guest image and serves it on loopback, and
// then, through sf-client alone, creates a network and an instance, waits for its
// login prompt, shows its address and its console, pings it from its router,
// deletes everything, and shows that nothing is left.
//
// It needs root and the programs in bin (`make build`).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/shakenfist/cloud/examples/internal/census"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var d demo
	flag.StringVar(&d.bin, "bin", "bin", "directory with sfd and sf-client")
	flag.StringVar(&d.image, "image", "", "boot this image instead of the one built here (a URL, or cirros)")
	flag.BoolVar(&d.keep, "keep", false, "leave everything running at the end")
	old := flag.String("stop", "", "end a demonstration that was kept, by its directory")
	flag.Parse()
	err := errors.New("unexpected argument: see -help")
	if flag.NArg() == 0 {
		err = d.main(ctx, *old)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one demonstration.
type demo struct {
	bin, image string
	keep       bool

	dir    string        // everything that it makes is in here
	before census.Census // the host before it began
	sfd    *daemon
}

func (d *demo) main(ctx context.Context, old string) error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root, as sfd must: sudo make demo")
	}
	if old != "" {
		return d.endOld(ctx, old)
	}
	start := time.Now()
	if err := d.begin(); err != nil {
		return err
	}
	err := d.show(ctx)
	if err == nil && d.keep {
		return d.sayHowToLookAround(ctx)
	}
	if err != nil {
		d.sfd.showLog()
	}
	// Whatever happened, nothing is left behind.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if err := errors.Join(err, d.end(ending)); err != nil {
		return err
	}
	say("Done in %.0f s.", time.Since(start).Seconds())
	return nil
}

// say prints a heading of the narration.
func say(format string, args ...any) { fmt.Printf("\n# "+format+"\n", args...) }
