package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/spec"
)

// serveTLS serves an API that says yes to everything, over TLS, and counts requests.
func serveTLS(t *testing.T) (h *httptest.Server, asked *int) {
	asked = new(int)
	h = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		io.WriteString(w, `{"access_token": "t"}`)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	return h, asked
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// coloned prints a fingerprint as openssl does.
func coloned(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += 2 {
		b.WriteString(strings.ToUpper(s[i : i+2]))
		if i+2 < len(s) {
			b.WriteByte(':')
		}
	}
	return b.String()
}

// TestFingerprint holds that a server is known by its key or its certificate, and
// that no other one is ever sent anything.
func TestFingerprint(t *testing.T) {
	h, asked := serveTLS(t)
	key, whole := sumOf(h.Certificate().RawSubjectPublicKeyInfo), sumOf(h.Certificate().Raw)
	ask := func(url, print string) error {
		c, err := New(Config{URL: url, Namespace: "n", Key: "k", Fingerprint: print})
		if err == nil {
			err = c.do(t.Context(), call{method: http.MethodGet, path: "/instances"})
		}
		return err
	}
	for _, print := range []string{key, strings.ToUpper(key), coloned(key), whole, coloned(whole)} {
		if err := ask(h.URL, print); err != nil {
			t.Errorf("%s: %v", print, err)
		}
	}
	*asked = 0
	other := sumOf([]byte("another"))
	err := ask(h.URL, other)
	if !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), "SHAKENFIST_API_FINGERPRINT") {
		t.Errorf("another server: %v", err)
	}
	if err := ask(h.URL, ""); !errors.Is(err, spec.ErrUnavailable) || !strings.Contains(err.Error(), "give its fingerprint") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	if *asked != 0 {
		t.Errorf("%d requests were sent to a stranger", *asked)
	}
}

// TestFingerprintNeedsTLS holds that one is never given in vain.
func TestFingerprintNeedsTLS(t *testing.T) {
	print := sumOf(nil)
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{URL: "http://x", Fingerprint: print}, "not https://"},
		{Config{URL: "https://x", Fingerprint: print, HTTP: http.DefaultClient}, "HTTP and Fingerprint"},
		{Config{URL: "https://x", Fingerprint: print[2:]}, "64 hexadecimal digits"},
		{Config{URL: "https://x", Fingerprint: strings.Repeat("x", 64)}, "64 hexadecimal digits"},
	} {
		tt.cfg.Namespace, tt.cfg.Key = "n", "k"
		if _, err := New(tt.cfg); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.cfg, err)
		}
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	c, err := New(Config{URL: "https://" + plain.Listener.Addr().String(), Namespace: "n", Key: "k"})
	if err == nil {
		_, err = c.Nodes(t.Context())
	}
	if !errors.Is(err, spec.ErrUnavailable) || !strings.Contains(err.Error(), "say http://") {
		t.Errorf("a server without TLS: %v", err)
	}
}
