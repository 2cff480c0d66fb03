package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// serveMetrics shows measurements to whoever asks, until it is stopped. Where it is
// the usual port, another program that has it is no reason not to start.
func serveMetrics(ctx context.Context, c *config, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if c.metricsPort == 0 {
		return func() {}, nil
	}
	address := net.JoinHostPort(c.metricsAddress.String(), strconv.Itoa(c.metricsPort))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	usual := defaults()
	if errors.Is(err, unix.EADDRINUSE) && c.metricsPort == usual.metricsPort && c.metricsAddress == usual.metricsAddress {
		log.Warn("there are no measurements on a port of their own: something else has it; --metrics-port chooses another", "address", address)
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w; --metrics-port and --metrics-address choose where, port 0 for nowhere", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /{$}", metrics) // as the original does
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go server.Serve(l) // ends with the server
	return func() { server.Close() }, nil
}
