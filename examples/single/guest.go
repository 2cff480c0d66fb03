//go:build linux

package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
)

// guestServer serves one image on loopback, where system may fetch from.
type guestServer struct {
	http.Server
	url string
}

// serveGuest builds the test guest and serves it.
func serveGuest(ctx context.Context, dir string) (*guestServer, error) {
	path := filepath.Join(dir, "guest.qcow2")
	if err := guest.Build(ctx, guest.Options{Out: path}); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &guestServer{url: "http://" + listener.Addr().String() + "/guest.qcow2"}
	s.ReadHeaderTimeout = 10 * time.Second
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	go s.Serve(listener)
	return s, nil
}
