package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
)

func TestGuardCheck(t *testing.T) {
	local := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5"), netip.MustParseAddr("203.0.113.9")}
	g := guard{deny: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}}
	for addr, ok := range map[string]bool{
		"93.184.216.34": true, "10.0.0.6": true, "192.168.1.1": true, "172.16.0.1": true, "100.64.0.1": true,
		"2606:2800:220:1::1": true, "fd00::6": true, "64:ff9b::5db8:d822": true,
		"127.0.0.1": false, "127.9.9.9": false, "0.0.0.0": false, "0.1.2.3": false, "169.254.169.254": false,
		"224.0.0.1": false, "255.255.255.255": false, "100.100.100.200": false, "168.63.129.16": false,
		"10.0.0.5": false, "203.0.113.9": false, "10.77.1.2": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "ff02::1": false, "fd00::5": false, "fd00:ec2::254": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:10.0.0.5": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "2002:7f00:1::": false, "2002:a00:5::1": false,
	} {
		err := g.check(netip.MustParseAddr(addr), local)
		if ok != (err == nil) || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// A tenant reaches no loopback, by whatever name or redirect; an administrator may.
// The cloud's own machines are not for tenants, whichever there are by now.
func TestCloudIsForbidden(t *testing.T) {
	web := newWeb(t)
	web.put("/i", rawImage(1<<20))
	at := netip.MustParseAddrPort(strings.TrimPrefix(web.URL, "http://")).Addr()
	var cloud []netip.Addr
	g := guard{cloud: func() []netip.Addr { return cloud }}
	outside := netip.MustParseAddr("198.51.100.7")
	if err := g.check(outside, nil); err != nil {
		t.Error(err)
	}
	cloud = []netip.Addr{outside, at}
	for _, addr := range []string{"198.51.100.7", "::ffff:198.51.100.7", "64:ff9b::198.51.100.7"} {
		if err := g.check(netip.MustParseAddr(addr), nil); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "of this cloud") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	h := NewHTTP(HTTPConfig{Cloud: func() []netip.Addr { return cloud }, LocalAddrs: func() ([]netip.Addr, error) { return nil, nil }})
	defer h.Close()
	if _, err := h.Resolve(t.Context(), driver.ImageRef{Name: web.URL + "/i"}); !errors.Is(err, ErrForbidden) {
		t.Error(err)
	}
	if _, err := h.Resolve(t.Context(), trusted(web.URL+"/i")); err != nil {
		t.Error(err)
	}
}

func TestForbidden(t *testing.T) {
	web := newWeb(t)
	web.put("/secret", rawImage(4096))
	port := web.URL[strings.LastIndex(web.URL, ":"):]
	h := NewHTTP(HTTPConfig{})
	for _, host := range []string{"127.0.0.1", "localhost", "127.1.2.3", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		_, err := h.Resolve(t.Context(), driver.ImageRef{Name: "http://" + host + port + "/secret"})
		if !errors.Is(err, ErrForbidden) || !errors.Is(err, ErrPermanent) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := len(web.requests); n > 0 {
		t.Errorf("the server saw %v", web.requests)
	}
	if _, err := h.Resolve(t.Context(), trusted(web.URL+"/secret")); err != nil {
		t.Errorf("an administrator: %v", err)
	}
	// This host's own addresses, whichever they are.
	own, err := interfaceAddrs()
	if err != nil || len(own) == 0 {
		t.Errorf("own addresses: %v, %v", own, err)
	}
	for _, a := range own {
		name := "http://" + netip.AddrPortFrom(a, 9).String() + "/"
		if _, err := h.Resolve(t.Context(), driver.ImageRef{Name: name}); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Opening is checked too, not only resolving.
	if _, err := h.Open(t.Context(), Description{URL: web.URL + "/secret", Size: -1}, 0); !errors.Is(err, ErrForbidden) {
		t.Errorf("Open: %v", err)
	}
}

// redirector answers with redirects; the guard lets only its own address pass.
func TestRedirects(t *testing.T) {
	inner := newWeb(t)
	inner.put("/i", rawImage(4096))
	outer := newWeb(t)
	outer.put("/i", rawImage(4096))
	to := func(path, target string) {
		outer.put(path, nil).serve = func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, target, http.StatusFound)
		}
	}
	to("/good", "/i")
	to("/loop", "/loop")
	to("/file", "file:///etc/passwd")
	to("/inner", inner.URL+"/i")
	to("/metadata", "http://169.254.169.254/latest/meta-data/")
	for path, want := range map[string]string{
		"/good": "", "/loop": "more than 10 redirects", "/file": "only http and https",
	} {
		_, err := NewHTTP(HTTPConfig{}).Resolve(t.Context(), trusted(outer.URL+path))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !errors.Is(err, ErrPermanent)) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// For a tenant whose first hop were allowed, the second is checked on its own.
	h := NewHTTP(HTTPConfig{})
	h.guarded.Transport = splitTransport{first: outer.URL, open: h.open.Transport, guarded: h.guarded.Transport}
	if _, err := h.Resolve(t.Context(), driver.ImageRef{Name: outer.URL + "/good"}); err != nil {
		t.Errorf("/good: %v", err)
	}
	for _, path := range []string{"/inner", "/metadata"} {
		if _, err := h.Resolve(t.Context(), driver.ImageRef{Name: outer.URL + path}); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if len(inner.requests) > 0 {
		t.Errorf("the inner server saw %v", inner.requests)
	}
}

// splitTransport lets requests to one server pass unguarded: loopback has to
// stand in for the world here.
type splitTransport struct {
	first         string
	open, guarded http.RoundTripper
}

func (s splitTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.String(), s.first+"/") {
		return s.open.RoundTrip(r)
	}
	return s.guarded.RoundTrip(r)
}

func TestTLS(t *testing.T) {
	plain := newWeb(t)
	plain.put("/i", rawImage(4096))
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(rw, r, plain.URL+"/i", http.StatusFound)
			return
		}
		http.ServeContent(rw, r, "", time.Unix(1, 0), bytes.NewReader(rawImage(4096)))
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	_, err := NewHTTP(HTTPConfig{}).Resolve(t.Context(), trusted(secure.URL+"/i"))
	if !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
	h := NewHTTP(HTTPConfig{TLS: secure.Client().Transport.(*http.Transport).TLSClientConfig})
	if _, err := h.Resolve(t.Context(), trusted(secure.URL+"/i")); err != nil {
		t.Errorf("known authority: %v", err)
	}
	if _, err := h.Resolve(t.Context(), trusted(secure.URL+"/down")); !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), "plain") {
		t.Errorf("downgrade: %v", err)
	}
}

func TestResolveErrors(t *testing.T) {
	web := newWeb(t)
	for code := range map[int]bool{400: true, 401: true, 403: true, 404: true, 408: true, 410: true, 418: true, 429: true, 500: true, 502: true} {
		web.put(fmt.Sprintf("/%d", code), nil).status = code
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, tc := range []struct {
		ref       string
		permanent bool
		text      string
	}{
		{web.URL + "/missing", true, "404"},
		{web.URL + "/400", true, "400"}, {web.URL + "/401", true, "credentials"}, {web.URL + "/403", true, "denies"},
		{web.URL + "/410", true, "410"}, {web.URL + "/418", true, "418"},
		{web.URL + "/408", false, "408"}, {web.URL + "/429", false, "429"}, {web.URL + "/500", false, "500"}, {web.URL + "/502", false, "502"},
		{gone.URL + "/x", false, "reachable"},
		{"ftp://example.com/x", true, "http or https"}, {"file:///etc/passwd", true, "http or https"},
		{"gopher://x", true, "http or https"}, {"http://", true, "http or https"}, {"http:///x", true, "http or https"},
		{"http://[::1/x", true, "URL"}, {"http://a b/x", true, "URL"}, {"http://x/\x00", true, "URL"},
		{"", true, "shorthand"}, {"cirrosfoo", true, "shorthand"}, {"/etc/passwd", true, "shorthand"}, {"windows:95", true, "debian[:release]"},
		{"cirros:", true, "shorthand"}, {"cirros***", true, "shorthand"}, {"cirros:***", true, "0.5.1"}, {"cirros:../x", true, "0.5.1"},
		{"debian:95", true, "12 (bookworm)"},
		{web.URL + "/x#sha256=xyz", true, "hexadecimal"}, {web.URL + "/x#sha256=" + strings.Repeat("a", 63), true, "sha256="},
		{web.URL + "/x#crc=00", true, "sha256="},
	} {
		_, err := NewHTTP(HTTPConfig{}).Resolve(t.Context(), trusted(tc.ref))
		if err == nil || errors.Is(err, ErrPermanent) != tc.permanent || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%q: %v", tc.ref, err)
		}
		var e *Error
		if !errors.As(err, &e) || e.Op != "resolve" {
			t.Errorf("%q: not an *Error: %v", tc.ref, err)
		}
	}
}

func TestTransportError(t *testing.T) {
	dns := &url.Error{Op: "Get", URL: "http://u:hunter2@nowhere/", Err: &net.DNSError{Err: "no such host", Name: "nowhere", IsNotFound: true}}
	err := transportError("resolve", "http://u:hunter2@nowhere/", dns)
	if errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), "spelling") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// Secrets in URLs appear in no error and no name.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"cirros:0.5.1":                                "cirros:0.5.1",
		"https://example.com/a.img":                   "https://example.com/a.img",
		"https://u:p@example.com/a":                   "https://***@example.com/a",
		"https://tok@example.com/a":                   "https://***@example.com/a",
		"https://x/a?v=1&X-Amz-Signature=abc&token=t": "https://x/a?X-Amz-Signature=***&token=***&v=1",
		"https://u:p%zz@x/":                           "(unreadable URL)",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
	web, c := newWeb(t), newTestCache(t, testConfig())
	f := web.put("/i", rawImage(4096))
	u, _ := url.Parse(web.URL + "/i?token=hunter2")
	u.User = url.UserPassword("alice", "hunter2")
	image := mustFetch(t, c, u.String(), f.body)
	if strings.Contains(image.Name, "hunter2") || strings.Contains(image.Name, "alice") {
		t.Errorf("name %q", image.Name)
	}
	web.set(func() { f.status = 401 })
	_, err := c.Fetch(t.Context(), trusted(u.String()), nil)
	web.Close()
	_, err2 := c.config.Source.Resolve(t.Context(), trusted(u.String()))
	for _, err := range []error{err, err2} {
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "alice") {
			t.Errorf("%v", err)
		}
	}
	_, err = NewHTTP(HTTPConfig{}).Resolve(t.Context(), trusted("http://alice:hunter2@%zz/"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestOpen(t *testing.T) {
	web := newWeb(t)
	body := rawImage(100_000)
	f := web.put("/i", body)
	h := NewHTTP(HTTPConfig{})
	d, err := h.Resolve(t.Context(), trusted(web.URL+"/i"))
	if err != nil || d.Size != 100_000 || d.ETag != f.etag || d.LastModified == "" {
		t.Fatalf("%+v, %v", d, err)
	}
	read := func(offset int64) ([]byte, error) {
		r, err := h.Open(t.Context(), d, offset)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	check := func(what string) {
		t.Helper()
		for _, offset := range []int64{0, 1, 99_999} {
			if got, err := read(offset); err != nil || !bytes.Equal(got, body[offset:]) {
				t.Errorf("%s: from %d: %d bytes, %v", what, offset, len(got), err)
			}
		}
	}
	check("ranges")
	whole := func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("ETag", f.etag); rw.Write(body) }
	web.set(func() { f.serve = whole })
	check("no ranges")
	web.set(func() { f.serve = chunks(body) })
	check("no length, no validators")

	web.set(func() { f.serve = nil; f.body = rawImage(100_001); f.etag = `"new"` })
	for _, offset := range []int64{0, 5} {
		if _, err := read(offset); !errors.Is(err, ErrChanged) || errors.Is(err, ErrPermanent) {
			t.Errorf("changed, from %d: %v", offset, err)
		}
	}
	// Servers that answer for other bytes than were asked for.
	for name, r := range map[string]string{
		"start": "bytes 6-99999/100000", "unreadable": "bytes banana", "backwards": "bytes 9-5/100000", "none": "", "total": "bytes 5-99999/99999999",
	} {
		web.set(func() {
			f.serve = func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Range", r)
				rw.WriteHeader(http.StatusPartialContent)
				rw.Write(body[5:])
			}
		})
		if got, err := read(5); err == nil || errors.Is(err, ErrPermanent) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestSilentServer(t *testing.T) {
	web := newWeb(t)
	body := rawImage(100_000)
	f := web.put("/i", body)
	f.serve = func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "bytes=0-0" {
			http.ServeContent(rw, r, "", time.Unix(1, 0), bytes.NewReader(body))
			return
		}
		rw.Header().Set("Content-Length", "100000")
		rw.Write(body[:10])
		http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}
	config := testConfig()
	config.Source = NewHTTP(HTTPConfig{IdleTimeout: 50 * time.Millisecond})
	config.Attempts = 2
	_, err := newTestCache(t, config).Fetch(t.Context(), trusted(web.URL+"/i"), nil)
	if !errors.Is(err, errIdle) || errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), "silent for 50ms") {
		t.Errorf("%v", err)
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes 0-0/*")
	f.Fuzz(func(t *testing.T, s string) {
		start, total, err := parseContentRange(s)
		if err == nil && (start < 0 || total != -1 && total <= start) {
			t.Errorf("%q: %d of %d", s, start, total)
		}
	})
}

func FuzzRedact(f *testing.F) {
	f.Add("https", "user", "example.com", "a=b")
	f.Fuzz(func(t *testing.T, scheme, secret, host, query string) {
		ref := scheme + "://x:" + url.QueryEscape(secret) + "@" + host + "/?" + query
		u, err := url.Parse(ref)
		if err != nil || u.User == nil || len(secret) < 4 || strings.Contains(scheme+host+query+u.Path, secret) {
			return
		}
		if got := Redact(ref); strings.Contains(got, secret) {
			t.Errorf("%q shows %q", got, secret)
		}
	})
}
