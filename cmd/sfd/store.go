package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/archive"
	"github.com/shakenfist/cloud/store/bolt"
	"github.com/shakenfist/cloud/store/etcd"
)

// etcdOptions say where the records of a cloud of several machines are.
type etcdOptions struct {
	endpoints     []string // none: the records are in the data directory
	prefix        string
	ca, cert, key string // files
	user          string
	passwordFile  string
	retention     time.Duration // of history; 0 leaves it to others
}

// shared reports whether other machines may use the same records.
func (c *config) shared() bool { return len(c.etcd.endpoints) > 0 }

// openStore opens the records, and refuses those that are not all there.
func openStore(ctx context.Context, c *config, log *slog.Logger) (store.Store, error) {
	s, err := openAnyStore(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err := archive.Check(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("records: %w", err), s.Close())
	}
	return s, nil
}

// openAnyStore opens the records, whatever they are.
func openAnyStore(ctx context.Context, c *config, log *slog.Logger) (store.Store, error) {
	if !c.shared() {
		s, err := bolt.Open(c.path(storeName), bolt.Config{})
		if err != nil {
			return nil, fmt.Errorf("records: %w", err)
		}
		return s, nil
	}
	s, err := c.etcd.open(ctx, "--etcd", log)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return s, nil
}

// open opens the store in an etcd. option is what the names of its options begin with.
func (o etcdOptions) open(ctx context.Context, option string, log *slog.Logger) (store.Store, error) {
	cfg := etcd.Config{Endpoints: o.endpoints, Prefix: o.prefix, Username: o.user, Logger: log}
	var err error
	if cfg.TLS, err = o.tls(option); err != nil {
		return nil, err
	}
	if o.passwordFile != "" {
		cfg.Secret = func() (string, error) { // at each login: it may be changed
			password, err := os.ReadFile(o.passwordFile)
			if err != nil {
				return "", fmt.Errorf("%s-password-file: %w", option, err)
			}
			return strings.TrimRight(string(password), "\r\n"), nil
		}
		if _, err := cfg.Secret(); err != nil {
			return nil, err
		}
	}
	return etcd.Open(ctx, cfg)
}

// lookupPatience is how long a start waits for the addresses of etcd's members.
const lookupPatience = 2 * time.Second

// addresses are those of the members, as far as their names can be looked up now.
func (o etcdOptions) addresses(ctx context.Context) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	var all []netip.Addr
	for _, endpoint := range o.endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			all = append(all, a)
		} else if found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname()); err == nil {
			all = append(all, found...)
		}
	}
	return all
}

// tls is how etcd's members and we know each other; nil where the endpoints are
// plain or the system's trust will do.
func (o etcdOptions) tls(option string) (*tls.Config, error) {
	if o.ca == "" && o.cert == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("%s-cacert: %w", option, err)
		}
		if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s-cacert: there is no certificate in %s", option, o.ca)
		}
	}
	if o.cert != "" {
		load := func() (*tls.Certificate, error) { // for each connection: it may be renewed
			pair, err := tls.LoadX509KeyPair(o.cert, o.key)
			if err != nil {
				return nil, fmt.Errorf("%s-cert and %s-key: %w", option, option, err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return t, nil
}

// check is about how the options fit each other.
func (o etcdOptions) check() error {
	switch {
	case len(o.endpoints) == 0 && (o.prefix != "" || o.ca != "" || o.cert != "" || o.user != ""):
		return errors.New("options of etcd without --etcd-endpoints")
	case (o.cert == "") != (o.key == ""):
		return errors.New("--etcd-cert and --etcd-key belong together")
	case (o.user == "") != (o.passwordFile == ""):
		return errors.New("--etcd-user and --etcd-password-file belong together")
	}
	return nil
}

// etcdHost reads the name or address of a host, as later releases of the original
// call it: it is the endpoint, unless endpoints are named.
func etcdHost(c *config, v string) error {
	if strings.ContainsAny(v, "/ ,") {
		return errors.New("want the name or address of a host, such as 10.0.0.1")
	}
	if c.etcd.endpoints == nil {
		c.etcd.endpoints = []string{"http://" + net.JoinHostPort(strings.Trim(v, "[]"), "2379")}
	}
	return nil
}

// etcdEndpoints reads URLs of members.
func etcdEndpoints(v string) (list []string, err error) {
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); webURL(part) != nil {
			return nil, errors.New("want URLs with commas between, such as http://10.0.0.1:2379,http://10.0.0.2:2379")
		}
		list = append(list, part)
	}
	return list, nil
}
