// Command guest builds the test guest's disk image, and can serve it to a cloud
// that fetches its images by URL:
//
//	go run ./examples/guest -o guest.qcow2 -serve 127.0.0.1:8000
//
// It boots in a few seconds with software emulation, says on its console what it
// got from DHCP and its config drive, and offers a root shell there: see package
// driver/drivertest/guest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o guest.Options
	flag.StringVar(&o.Out, "o", "guest.qcow2", "the file to write")
	format := flag.String("format", "qcow2", "qcow2, raw or gz (raw, compressed)")
	roots := flag.String("roots", "", "where to look for kernel and busybox, separated by commas (default build/guest-root, /)")
	flag.StringVar(&o.Append, "append", "", "what to add to the guest kernel's command line")
	serve := flag.String("serve", "", "serve the image by HTTP on this address until interrupted")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see -help", flag.Arg(0))
	}
	o.Format = guest.Format(*format)
	if *roots != "" {
		o.Roots = strings.Split(*roots, ",")
	}
	start := time.Now()
	if err := guest.Build(ctx, o); err != nil {
		return err
	}
	info, err := os.Stat(o.Out)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MB, built in %.1f s\n", o.Out, float64(info.Size())/1e6, time.Since(start).Seconds())
	if *serve == "" {
		return nil
	}
	return serveFile(ctx, *serve, o.Out)
}

// serveFile answers for this one file, under its own name, until ctx ends.
func serveFile(ctx context.Context, addr, path string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	name := "/" + filepath.Base(path)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+name, func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Printf("serving http://%s%s\n", listener.Addr(), name)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
