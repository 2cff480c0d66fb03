package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
)

// cloudRecords is how the keys of a cloud begin.
const cloudRecords = "sf/"

var errNoDaemon = errors.New("no sfd runs here")

// reach is a way to the records: the sfd that runs here, else we open them
// ourselves, and keep an sfd from starting until the link is closed.
func reach(ctx context.Context, c *config) (*link, error) {
	if _, err := os.Stat(c.path(storeName)); err != nil && !c.shared() {
		return nil, fmt.Errorf("no cloud's records are in %s: %w", c.dataDir, err)
	}
	conn, err := dialDaemon(ctx, c)
	if err == nil {
		conn.Close()
		return newLink(true, func(ctx context.Context, _, _ string) (net.Conn, error) { return dialDaemon(ctx, c) }), nil
	}
	if !errors.Is(err, errNoDaemon) && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return openRecords(ctx, c)
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

func newLink(running bool, dial dialer) *link {
	return &link{client: &http.Client{Transport: &http.Transport{DialContext: dial}}, running: running, close: func() error { return nil }}
}

// openRecords opens the records in this process and serves them to itself.
func openRecords(ctx context.Context, c *config) (_ *link, err error) {
	var open []io.Closer
	release := func() (err error) {
		for _, o := range slices.Backward(open) {
			err = errors.Join(err, o.Close())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	if !c.shared() {
		lock, err := lockDir(ctx, c)
		if err != nil {
			return nil, err
		}
		open = append(open, lock)
	}
	quiet := slog.New(slog.DiscardHandler)
	s, err := openStore(ctx, c, quiet)
	if err != nil {
		return nil, err
	}
	open = append(open, s)
	if l, err := s.List(ctx, cloudRecords, store.Page{Limit: 1}); err != nil {
		return nil, err
	} else if len(l.Records) == 0 { // and none shall be founded by this
		return nil, errors.New("there is no cloud: the store has no records of one")
	}
	cloud, err := sf.Open(ctx, sf.Config{Store: s})
	if err != nil {
		return nil, err
	}
	open = append(open, cloud)
	certificate, err := openAPITLS(c)
	if err != nil {
		return nil, err
	}
	at := reached{c.apiURL(c.apiPort), certificate.fingerprint()}
	pipes := newPipes()
	server := &http.Server{Handler: (&admin{store: s, cloud: cloud, at: at, log: quiet}).handler()}
	go server.Serve(pipes) // until it is closed
	open = append(open, server)
	l := newLink(false, pipes.dial)
	l.close = release
	return l, nil
}

// pipes is a listener within the process.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "sfd", Net: "pipe"} }
