// Command sfd runs a cloud of one machine, the records in a file, or with the
// records in etcd one machine of several: QEMU, the kernel's networking, and the REST
// API on loopback. It needs no configuration;
// docs/operating.md describes what it takes and leaves.
//
// Its parts are packages of this module, wired in wire_linux.go.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is set by the build (-ldflags "-X main.version=v1.2.3"); without, it is
// what the Go command recorded.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends a stop that takes too long
	signal.Ignore(syscall.SIGHUP)
	os.Exit(Main(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// guardCommand makes sfd the guard of another one's machines; people have no use
// for it.
const guardCommand = "guard"

// Main is sfd as a function: it runs until ctx is done, and returns the exit status.
func Main(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == importCommand {
		return importMain(ctx, args[1:], environ, stdout, stderr)
	}
	act := serve
	if len(args) > 0 && args[0] == guardCommand {
		act, args = stand, args[1:]
	}
	byFile, args, err := fileCommand(args)
	if err != nil {
		fmt.Fprintln(stderr, "sfd:", err)
		return 2
	}
	if byFile != nil {
		act = byFile
	}
	c, err := parse(args, environ)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "sfd:", err)
		return 2
	case c.help:
		usage(stdout)
		return 0
	case c.version:
		fmt.Fprintln(stdout, "sfd", versionText())
		return 0
	}
	log := newLogger(c, stderr)
	for _, w := range c.warnings {
		log.Warn(w)
	}
	if c.cleanup {
		act = cleanup
	}
	c.args = args
	if err := act(ctx, c, log); err != nil {
		fmt.Fprintln(stderr, "sfd:", err)
		return 1
	}
	return 0
}

func newLogger(c *config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.logLevel}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
