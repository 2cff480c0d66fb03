package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/api"
)

// drainTimeout is how long a stop waits for requests under way. What they asked
// for is recorded, and goes on with the next start.
const drainTimeout = 5 * time.Second

// serve runs the cloud until ctx is done.
func serve(ctx context.Context, c *config, log *slog.Logger) (err error) {
	if err := checkHost(c); err != nil {
		return err
	}
	listener, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer listener.Close()
	h, err := openHost(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	certificate, err := openAPITLS(c)
	if err != nil {
		return err
	}
	cfg := cloudConfig(c, h, log)
	if cfg.Node, err = nodeConfig(c, h); err != nil {
		return err
	}
	cloud, err := sf.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cloud.Close()) }()
	if cfg.Node.Guard == nil { // which is on record by now
		if err := relieveGuards(ctx, c.path(guardSocket)); err != nil {
			return fmt.Errorf("a guard that stands since there was --self-fence does not go: %w", err)
		}
	}
	at := reached{c.apiURL(listener.Addr().(*net.TCPAddr).Port), certificate.fingerprint()}
	defer keepStore(c, h.store, log)()
	stopAdmin, err := serveAdmin(c, &admin{store: h.store, cloud: cloud, at: at, log: log})
	if err != nil {
		return err
	}
	defer stopAdmin()
	secret, err := tokenSecret(ctx, c, cloud)
	if err != nil {
		return err
	}
	if err := provideClientFile(ctx, cloud, c, at, log); err != nil {
		return err
	}
	measured := gauges{dir: c.dataDir, hypervisor: h.hypervisor, cloud: cloud, sizes: map[string]size{}}
	apiConfig := api.Config{Secret: secret, Logger: log, Stopping: ctx, Gauges: measured.all}
	if h.peers != nil {
		apiConfig.Relay = h.peers
	}
	handler := api.New(cloud, apiConfig)
	stopMetrics, err := serveMetrics(ctx, c, api.Metrics(handler), log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	if h.peers != nil {
		stop, err := servePeers(ctx, h.peers, cfg.Node.Endpoint, h.peers.handler(cloud, h.images, handler), cloud, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	ready := log
	if certificate != nil {
		go certificate.keep(ctx, c, at.url, log)
		ready = log.With("fingerprint", at.fingerprint)
	}
	ready.Info("ready", "api", at.url, "cloud", cloud.ID(), "node", h.node, "data_dir", c.dataDir, "version", versionText())
	return serveAPI(ctx, listener, certificate, handler, log)
}

// tokenSecret returns what signs tokens: of a cloud of several machines, the same
// everywhere.
func tokenSecret(ctx context.Context, c *config, cloud *sf.Cloud) ([]byte, error) {
	if c.shared() && c.authSecret == "" {
		return cloud.Secret(ctx, "tokens")
	}
	return authSecret(c)
}

// servePeers answers the cloud's other nodes until it is stopped.
func servePeers(ctx context.Context, p *peers, address string, handler http.Handler, cloud *sf.Cloud, log *slog.Logger) (stop func(), err error) {
	var l net.Listener
	err = patiently(ctx, unix.EADDRINUSE, func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for other nodes: %w; --peer-port chooses another port", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	go p.follow(ctx, cloud)
	server := &http.Server{
		Handler: handler, TLSConfig: p.serverTLS(ctx), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			log.Error("other nodes are not answered any more", "error", err)
		}
	}()
	return func() {
		cancel()
		server.Close()
	}, nil
}

func listen(ctx context.Context, c *config) (listener net.Listener, err error) {
	err = patiently(ctx, unix.EADDRINUSE, func() error {
		listener, err = net.Listen("tcp", c.listen())
		return err
	})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("port %d of %s is in use, by another sfd or something else: stop it or say --api-port (0 picks a free one)", c.apiPort, c.apiAddress)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--api-address %s: this machine does not have this address", c.apiAddress)
	case err != nil:
		return nil, fmt.Errorf("API: %w", err)
	}
	return listener, nil
}

// serveAPI serves until ctx is done, and then lets requests end. Without a certificate
// it is plain.
func serveAPI(ctx context.Context, listener net.Listener, certificate *apiTLS, handler http.Handler, log *slog.Logger) error {
	// Consoles and other endless requests end when those that can end have.
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug), // clients' faults, which are theirs to mend
	}
	failed := make(chan error, 1)
	go func() {
		if certificate == nil {
			failed <- server.Serve(listener)
			return
		}
		server.TLSConfig = certificate.config()
		failed <- server.ServeTLS(explaining{listener}, "", "")
	}()
	if err := notify("READY=1"); err != nil {
		log.Warn("the service manager does not listen", "error", err)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("API: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping; machines run on")
	if err := notify("STOPPING=1"); err != nil {
		log.Debug("the service manager does not listen", "error", err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		log.Warn("requests were cut off; what they asked for goes on at the next start", "error", err)
		return server.Close()
	}
	return nil
}
