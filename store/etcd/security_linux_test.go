package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/shakenfist/cloud/store"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	der, a.key = issue(t, template, template, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func issue(t testing.TB, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// leaf issues a certificate for loopback that serves and asks.
func (a *authority) leaf(t testing.TB, name string) tls.Certificate {
	t.Helper()
	der, key := issue(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePEM(t testing.TB, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refusal opens a store that must not open, and holds its error against words.
func refusal(t *testing.T, name string, c Config, words ...string) {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	s, err := Open(t.Context(), c)
	if err == nil {
		s.Close()
		t.Errorf("%s: it opened", name)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v\nlacks %q", name, err, w)
		}
	}
	t.Logf("%s: %v", name, err)
}

// A cluster with TLS knows its clients by their certificates, and they it; who is
// wrong is told why.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	for _, release := range clustered {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			dir, cert := t.TempDir(), ours.leaf(t, "server")
			key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
			if err != nil {
				t.Fatal(err)
			}
			v := start(t, release, "https", "--client-cert-auth",
				"--trusted-ca-file", writePEM(t, dir, "ca", "CERTIFICATE", ours.cert.Raw),
				"--cert-file", writePEM(t, dir, "cert", "CERTIFICATE", cert.Certificate[0]),
				"--key-file", writePEM(t, dir, "key", "EC PRIVATE KEY", key))
			right := v.config()
			right.TLS = &tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{ours.leaf(t, "client")}}
			s := mustOpen(t, right)
			w := watch(t, s, "k", newest(t, s))
			if r := put(t, s, "k", nil); events(t, w).Revision != r {
				t.Error("the watch shows something else")
			}
			with := func(c Config, tls *tls.Config) Config { c.TLS = tls; return c }
			refusal(t, "a CA of others", with(right, &tls.Config{RootCAs: others.pool, Certificates: right.TLS.Certificates}), "unknown authority")
			refusal(t, "no certificate", with(right, &tls.Config{RootCAs: ours.pool}), "certificate")
			refusal(t, "a certificate of others", with(right, &tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{others.leaf(t, "x")}}), "certificate")
			refusal(t, "the system's trust", with(right, nil), "unknown authority")
			refusal(t, "no TLS", Config{Endpoints: []string{"http://" + v.client}}, "speaks TLS")
		})
	}
	plain := start(t, "3.4", "http")
	refusal(t, "TLS with a plain server", Config{Endpoints: []string{"https://" + plain.client}}, "does not speak TLS")
	refusal(t, "nobody there", Config{Endpoints: []string{"http://" + freeAddress(t)}}, "connection refused")
	for name, c := range map[string]Config{
		"no endpoint":               {},
		"no scheme":                 {Endpoints: []string{"127.0.0.1:2379"}},
		"another scheme":            {Endpoints: []string{"ftp://127.0.0.1:2379"}},
		"both schemes":              {Endpoints: []string{"http://127.0.0.1:1", "https://127.0.0.1:1"}},
		"certificates without TLS":  {Endpoints: []string{"http://127.0.0.1:1"}, TLS: &tls.Config{}},
		"a user without a password": {Endpoints: []string{"http://127.0.0.1:1"}, Username: "u"},
	} {
		if _, err := Open(t.Context(), c); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// With authentication switched on, a user of one prefix's role can use it and nothing else,
// for longer than its token lives.
func TestPassword(t *testing.T) {
	t.Parallel()
	for _, release := range clustered {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			v := start(t, release, "http", "--auth-token-ttl", "1")
			raw, ctx := v.raw(t), patience(t)
			steps := []func() error{
				func() error { _, err := raw.UserAdd(ctx, "root", "rootsecret"); return err },
				func() error { _, err := raw.UserGrantRole(ctx, "root", "root"); return err },
				func() error { _, err := raw.RoleAdd(ctx, "cloud"); return err },
				func() error {
					_, err := raw.RoleGrantPermission(ctx, "cloud", "/cloud/", clientv3.GetPrefixRangeEnd("/cloud/"), clientv3.PermissionType(clientv3.PermReadWrite))
					return err
				},
				func() error { _, err := raw.UserAdd(ctx, "sf", "secret"); return err },
				func() error { _, err := raw.UserGrantRole(ctx, "sf", "cloud"); return err },
				func() error { _, err := raw.AuthEnable(ctx); return err },
			}
			if release == "3.4" { // it has the role root only once somebody makes it
				raw.RoleAdd(ctx, "root")
			}
			for i, step := range steps {
				if err := step(); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			right := v.config()
			right.Username, right.Password, right.Prefix = "sf", "secret", "/cloud/"
			var secret atomic.Value
			secret.Store(right.Password)
			changing := right
			changing.Password, changing.Secret = "", func() (string, error) { return secret.Load().(string), nil }
			s := mustOpen(t, changing)
			w := watch(t, s, "k", newest(t, s))
			x, err := s.Session(ctx, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // a token of a second, unused, expires in between
				if r := put(t, s, "k", nil); events(t, w).Revision != r {
					t.Error("the watch shows something else")
				}
				if err := x.Renew(ctx); err != nil {
					t.Error(err)
				}
				pause(ctx, 2500*time.Millisecond)
			}
			// A server that starts again knows none of its tokens.
			v.kill()
			if v.run(t); !v.listens() {
				t.Fatalf("etcd does not start again: %s", v.log)
			}
			retry(t, func(ctx context.Context) (store.Revision, error) {
				return s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", []byte("again"))}})
			})
			if b := events(t, w); string(b.Events[0].Value) != "again" {
				t.Errorf("the watch shows %q", b.Events[0].Value)
			}
			// A password that is changed is asked for anew.
			admin, err := clientv3.New(clientv3.Config{Endpoints: right.Endpoints, Username: "root", Password: "rootsecret", Logger: zap.NewNop()})
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			if _, err := admin.UserChangePassword(ctx, "sf", "another"); err != nil {
				t.Fatal(err)
			}
			secret.Store("another")
			retry(t, func(ctx context.Context) (store.Revision, error) {
				return s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", []byte("changed"))}})
			})
			if b := events(t, w); string(b.Events[0].Value) != "changed" {
				t.Errorf("the watch shows %q", b.Events[0].Value)
			}
			right.Password = "another"
			with := func(user, password, prefix string) Config {
				c := right
				c.Username, c.Password, c.Prefix = user, password, prefix
				c.Timeout = 10 * time.Second // it takes its time over a password on purpose
				return c
			}
			refusal(t, "a wrong password", with("sf", "wrong", "/cloud/"), "wrong user", `"sf"`)
			refusal(t, "no such user", with("nobody", "another", "/cloud/"), "wrong user", `"nobody"`)
			refusal(t, "nobody", with("", "", "/cloud/"), "user")
			refusal(t, "another prefix", with("sf", "another", "/else/"), "needs a role", `"/else/"`)
		})
	}
}
