//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
)

// guestServer serves one image. `system` may fetch from loopback, tenants may not.
type guestServer struct {
	http.Server
	url string
}

// serveGuest builds the guest's image and serves it.
func serveGuest(ctx context.Context, dir string) (*guestServer, error) {
	path := filepath.Join(dir, "guest.qcow2")
	start := time.Now()
	if err := guest.Build(ctx, guest.Options{Out: path}); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &guestServer{url: fmt.Sprintf("http://%s/guest.qcow2", listener.Addr())}
	s.ReadHeaderTimeout = 10 * time.Second
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	go s.Serve(listener)
	fmt.Printf("%s (%.1f MB, built in %.1f s)\n", s.url, float64(info.Size())/1e6, time.Since(start).Seconds())
	return s, nil
}
