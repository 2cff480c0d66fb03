package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/api"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// secured is a cloud served over TLS as sfd does it.
type secured struct {
	*testing.T
	cloud       *sftest.Cloud
	certificate *apiTLS
	address     string
	told        client.Config // as the client file has it
}

func serveSecurely(t *testing.T, c *config) *secured {
	s := &secured{T: t, cloud: sftest.New(t)}
	var err error
	if s.certificate, err = openAPITLS(c); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", c.listen())
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	at := reached{c.apiURL(l.Addr().(*net.TCPAddr).Port), s.certificate.fingerprint()}
	if err := provideClientFile(t.Context(), s.cloud.Cloud, c, at, discard); err != nil {
		t.Fatal(err)
	}
	if s.told, err = client.ReadFile(c.clientFile); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- serveAPI(ctx, l, s.certificate, api.New(s.cloud.Cloud, api.Config{Stopping: ctx}), discard)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *secured) client(change func(*client.Config)) *client.Client {
	cfg := s.told
	if change != nil {
		change(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func secureConfig(t *testing.T) *config {
	c := inDir(t)
	c.clientFile, c.apiPort, c.apiTLS = filepath.Join(c.dataDir, "client.json"), 0, true
	return c
}

// protocols notes what requests were answered over.
type protocols struct {
	by   http.RoundTripper
	seen map[string]bool
}

func (p protocols) RoundTrip(r *http.Request) (*http.Response, error) {
	w, err := p.by.RoundTrip(r)
	if err == nil {
		p.seen[w.Proto] = true
	}
	return w, err
}

// TestAPIOverTLS makes an instance, and looks at its console and its screen, by what
// the client file says: calls go over HTTP/2, websockets work beside them.
func TestAPIOverTLS(t *testing.T) {
	s := serveSecurely(t, secureConfig(t))
	if !strings.HasPrefix(s.told.URL, "https://127.0.0.1:") || len(s.told.Fingerprint) != 64 {
		t.Fatalf("the client file says %q, %q", s.told.URL, s.told.Fingerprint)
	}
	p := protocols{seen: map[string]bool{}}
	c := s.client(func(cfg *client.Config) {
		cfg.Around = func(way http.RoundTripper) http.RoundTripper { p.by = way; return p }
	})
	ctx := sftest.Context(t)
	i, err := c.Sync().CreateInstance(ctx, sf.System, spec.InstanceSpec{Name: "vm1", CPUs: 1, MemoryMiB: 256, Disks: []spec.Disk{{SizeGB: 1, Base: "cirros"}}})
	if err != nil {
		t.Fatal(err)
	}
	if !p.seen["HTTP/2.0"] || len(p.seen) != 1 {
		t.Errorf("calls were answered over %v", p.seen)
	}
	screen, err := c.Display(ctx, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	hello := make([]byte, len("RFB 003.008\n"))
	if _, err := io.ReadFull(screen, hello); err != nil || string(hello) != "RFB 003.008\n" {
		t.Errorf("the screen says %q, %v", hello, err)
	}
	console, err := c.Console(ctx, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if _, err := console.Write([]byte("hello\n")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 256)
	if n, err := console.Read(got); err != nil || n == 0 {
		t.Errorf("the console says %q, %v", got[:n], err)
	}
	if !p.seen["HTTP/1.1"] {
		t.Errorf("websockets were opened over %v", p.seen)
	}
}

// TestStrangers holds that a client is told apart from what is wrong with its way to
// the API.
func TestStrangers(t *testing.T) {
	s := serveSecurely(t, secureConfig(t))
	ask := func(change func(*client.Config)) error {
		_, err := s.client(change).Nodes(sftest.Context(t))
		return err
	}
	other := strings.Repeat("ab", 32)
	err := ask(func(cfg *client.Config) { cfg.Fingerprint = other })
	if err == nil || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), s.told.Fingerprint) {
		t.Errorf("another fingerprint: %v", err)
	}
	if err := ask(func(cfg *client.Config) { cfg.Fingerprint = "" }); err == nil || !strings.Contains(err.Error(), "give its fingerprint") {
		t.Errorf("no fingerprint: %v", err)
	}
	err = ask(func(cfg *client.Config) { cfg.Fingerprint, cfg.URL = "", "http://"+s.address })
	if !errors.Is(err, sf.ErrInvalid) || !strings.Contains(err.Error(), "say https://"+s.address) {
		t.Errorf("plain HTTP: %v", err)
	}
	long := strings.NewReader(strings.Repeat("x", 60<<10)) // more than fits what is read first
	w, err := http.Post("http://"+s.address+"/instances", "application/json", long)
	if err != nil || w.StatusCode != http.StatusBadRequest {
		t.Fatalf("plain HTTP with a body: %v, %v", w, err)
	}
	w.Body.Close()
	raw, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.Write([]byte{0, 1, 2, 3, 4, 5})
	if answer, _ := io.ReadAll(raw); bytes.Contains(answer, []byte("HTTP")) {
		t.Errorf("what is no HTTP is answered with %q", answer)
	}
}

// TestSelfSigned follows the key through restarts.
func TestSelfSigned(t *testing.T) {
	c := secureConfig(t)
	first, err := openAPITLS(c)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.path(apiKeyName))
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the key has mode %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(c.path(apiCertName))
	if err != nil {
		t.Fatal(err)
	}
	again, err := openAPITLS(c)
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(c.path(apiCertName)); !bytes.Equal(now, text) || again.fingerprint() != first.fingerprint() {
		t.Error("the second start made another certificate")
	}
	c.apiAddress = netip.IPv6Unspecified()
	moved, err := openAPITLS(c)
	if err != nil {
		t.Fatal(err)
	}
	if leaf := moved.shown.Load().pair.Leaf; moved.fingerprint() != first.fingerprint() || leaf.VerifyHostname("::1") != nil || leaf.VerifyHostname("localhost") != nil {
		t.Errorf("listening everywhere: fingerprint %s, names %v %v", moved.fingerprint(), leaf.DNSNames, leaf.IPAddresses)
	}
	if err := os.WriteFile(c.path(apiKeyName), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAPITLS(c); err == nil || !strings.Contains(err.Error(), "remove it to have a new key made") {
		t.Errorf("a damaged key: %v", err)
	}
}

// TestCertificateChanges replaces the operator's certificate under a running API.
func TestCertificateChanges(t *testing.T) {
	mine := secureConfig(t)
	mine.apiTLS, mine.apiCert, mine.apiKey = false, mine.path("cert.pem"), mine.path("key.pem")
	replace := func() {
		other := inDir(t)
		other.apiTLS = true
		if _, err := openAPITLS(other); err != nil {
			t.Fatal(err)
		}
		for _, f := range []struct{ from, to string }{{apiCertName, mine.apiCert}, {apiKeyName, mine.apiKey}} {
			text, err := os.ReadFile(other.path(f.from))
			if err == nil {
				err = os.WriteFile(f.to, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	replace()
	s := serveSecurely(t, mine)
	before := s.client(nil)
	if _, err := before.Nodes(sftest.Context(t)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	again, changed := make(chan os.Signal), make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.certificate.follow(ctx, again, func(print string) {
			renewClientFile(mine, reached{s.told.URL, print}, discard)
			changed <- print
		}, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	replace()
	again <- syscall.SIGHUP
	if print := <-changed; print == s.told.Fingerprint {
		t.Error("the certificate is the same")
	}
	renewed, err := client.ReadFile(mine.clientFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(func(cfg *client.Config) { *cfg = renewed }).Nodes(sftest.Context(t)); err != nil {
		t.Errorf("by the new client file: %v", err)
	}
	if _, err := before.Nodes(sftest.Context(t)); err != nil {
		t.Errorf("over a connection from before: %v", err)
	}
	if _, err := s.client(nil).Nodes(sftest.Context(t)); err == nil || !strings.Contains(err.Error(), renewed.Fingerprint) {
		t.Errorf("by the old client file: %v", err)
	}

	if err := os.WriteFile(mine.apiKey, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	again <- syscall.SIGHUP
	again <- syscall.SIGHUP // taken only after the first has been dealt with
	if _, err := s.client(func(cfg *client.Config) { *cfg = renewed }).Nodes(sftest.Context(t)); err != nil {
		t.Errorf("while the key is being replaced: %v", err)
	}
	cancel()
	<-ended
	if !strings.Contains(log.String(), "the one before goes on being used") {
		t.Errorf("the log says %s", log.String())
	}
}

// TestSecure holds when the API is plain.
func TestSecure(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "http://127.0.0.1:1"},
		{"--api-tls", "https://127.0.0.1:1"},
		{"--api-cert=/c --api-key=/k", "https://127.0.0.1:1"},
		{"--api-address=0.0.0.0", "https://127.0.0.1:1"},
		{"--api-address=10.0.0.1", "https://10.0.0.1:1"},
		{"--api-address=10.0.0.1 --insecure-listen", "http://10.0.0.1:1"},
		{"--insecure-listen", "http://127.0.0.1:1"},
	} {
		c, err := parse(strings.Fields(test.args), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.apiURL(1); got != test.want {
			t.Errorf("%q: %s, want %s", test.args, got, test.want)
		}
	}
}
