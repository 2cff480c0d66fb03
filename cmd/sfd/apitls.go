package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// certificateEvery is how often the files of the certificate are looked at.
const certificateEvery = 10 * time.Second

// apiTLS is the certificate that the API shows. Connections that are open stay when
// it changes.
type apiTLS struct {
	certFile, keyFile string
	shown             atomic.Pointer[shown]
	seen              string // of the files when they were last read
}

type shown struct {
	pair        *tls.Certificate
	fingerprint string
}

// openAPITLS reads or makes the certificate; nil where the API is plain.
func openAPITLS(c *config) (*apiTLS, error) {
	if !c.secure() {
		return nil, nil
	}
	t, whose := &apiTLS{certFile: c.apiCert, keyFile: c.apiKey}, "--api-cert and --api-key"
	if c.apiCert == "" {
		whose = "its own certificate"
		var err error
		if t.certFile, t.keyFile, err = selfSigned(c); err != nil {
			return nil, fmt.Errorf("TLS of the API: %w", err)
		}
	}
	if _, err := t.read(); err != nil {
		return nil, fmt.Errorf("TLS of the API: %s: %w", whose, err)
	}
	return t, nil
}

// read reads the files again, and reports whether they hold another certificate.
func (t *apiTLS) read() (bool, error) {
	t.seen = state(t.certFile) + state(t.keyFile)
	pair, print, err := readPair(t.certFile, t.keyFile)
	if err != nil {
		return false, err
	}
	before := t.shown.Swap(&shown{pair, print})
	return before == nil || string(before.pair.Certificate[0]) != string(pair.Certificate[0]), nil
}

// state tells a file from what it was.
func state(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}

// keep follows the files until ctx is done, and tells the client file of a new key.
func (t *apiTLS) keep(ctx context.Context, c *config, url string, log *slog.Logger) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	t.follow(ctx, again, func(print string) { renewClientFile(c, reached{url, print}, log) }, log)
}

// follow reads the files again when they change or it is told to, until ctx is done.
// While they don't fit each other, as in the middle of being replaced, what was there
// before serves. changed is called with each new fingerprint.
func (t *apiTLS) follow(ctx context.Context, again <-chan os.Signal, changed func(fingerprint string), log *slog.Logger) {
	tick := time.NewTicker(certificateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			log.Info("the certificate of the API is read again", "file", t.certFile)
		case <-tick.C:
			if t.seen == state(t.certFile)+state(t.keyFile) {
				continue
			}
		}
		t.renew(changed, log)
	}
}

func (t *apiTLS) renew(changed func(fingerprint string), log *slog.Logger) {
	other, err := t.read()
	switch {
	case err != nil:
		log.Error("the certificate of the API cannot be read; the one before goes on being used", "error", err)
	case other:
		log.Info("the API has another certificate", "file", t.certFile, "fingerprint", t.fingerprint())
		changed(t.fingerprint())
	}
}

// fingerprint is that of the key; "" where the API is plain.
func (t *apiTLS) fingerprint() string {
	if t == nil {
		return ""
	}
	return t.shown.Load().fingerprint
}

// config is for a server.
func (t *apiTLS) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.shown.Load().pair, nil },
	}
}
