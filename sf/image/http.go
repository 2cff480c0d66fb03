package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// HTTPConfig of an HTTP source. Its zero value is usable.
type HTTPConfig struct {
	// URL templates of the shorthands; empty takes the distribution's own site.
	// %(vernum)s stands for the release's number, %(vername)s for its code name.
	// The listing of releases is read from the part before the first of them, and
	// the checksums from the list beside the image.
	Cirros, Ubuntu, Debian string
	// Deny are further networks that tenants' downloads may not reach, such as the
	// one between the nodes.
	Deny []netip.Prefix
	// Cloud lists the addresses of the cloud's own machines and of what it stands on,
	// which tenants' downloads may not reach either: what answers there trusts the
	// network that it is on. It is asked at each connection; nil is none.
	Cloud func() []netip.Addr
	// LocalAddrs lists the addresses of this host, which tenants' downloads may not
	// reach; nil asks the operating system.
	LocalAddrs func() ([]netip.Addr, error)
	// IdleTimeout is how long a server may be silent; 0 is 30 seconds. There is no
	// other limit of time: that is for the caller's context.
	IdleTimeout time.Duration
	// TLS is for certificates of one's own; nil is the system's.
	TLS *tls.Config
	// Now tells which Ubuntu releases are out; nil is time.Now.
	Now func() time.Time
	// UserAgent as in HTTP; empty is "shakenfist".
	UserAgent string
}

// HTTP is a Source of http and https URLs and of shorthands for them.
//
// A reference may end in "#sha256=<hex>" or "#sha512=<hex>": the bytes must then
// have that hash.
type HTTP struct {
	config  HTTPConfig
	guarded *http.Client // for tenants
	open    *http.Client // for administrators
}

// NewHTTP returns a source. It connects to nothing yet.
func NewHTTP(c HTTPConfig) *HTTP {
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 30 * time.Second
	}
	if c.LocalAddrs == nil {
		c.LocalAddrs = interfaceAddrs
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.UserAgent == "" {
		c.UserAgent = "shakenfist"
	}
	connect := min(c.IdleTimeout, 10*time.Second) // then what is cached is used
	g := guard{deny: c.Deny, cloud: c.Cloud, local: c.LocalAddrs}
	return &HTTP{
		config:  c,
		guarded: newClient(c, &net.Dialer{Timeout: connect, Control: g.control}),
		open:    newClient(c, &net.Dialer{Timeout: connect}),
	}
}

// newClient makes a client that connects by dialer and only so: no proxy, which
// would connect on our behalf to what the dialer refuses.
func newClient(c HTTPConfig, dialer *net.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        c.TLS,
			TLSHandshakeTimeout:    c.IdleTimeout,
			ResponseHeaderTimeout:  c.IdleTimeout,
			IdleConnTimeout:        c.IdleTimeout,
			MaxIdleConnsPerHost:    2,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // offsets count the file's bytes
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: checkRedirect,
	}
}

const maxRedirects = 10

// checkRedirect keeps redirects on the web, and on TLS once they are there.
func checkRedirect(req *http.Request, via []*http.Request) error {
	req.Header.Del("Referer") // its query may hold a token for the one before
	switch {
	case len(via) >= maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", errRedirect, maxRedirects)
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("%w: redirected to %s, only http and https are followed", ErrForbidden, Redact(req.URL.String()))
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return fmt.Errorf("%w: redirected from https to plain %s", errRedirect, Redact(req.URL.String()))
	}
	return nil
}

var errRedirect = errors.New("bad redirect")

// Close closes idle connections.
func (h *HTTP) Close() error {
	h.guarded.CloseIdleConnections()
	h.open.CloseIdleConnections()
	return nil
}

// Resolve implements Source.
func (h *HTTP) Resolve(ctx context.Context, ref driver.ImageRef) (Description, error) {
	name, pin, err := splitPin(ref.Name)
	if err != nil {
		return Description{}, permanent("resolve", ref.Name, err, "")
	}
	if !strings.Contains(name, "://") {
		return h.resolveShorthand(ctx, ref, name, pin)
	}
	u, err := url.Parse(name)
	if err != nil {
		return Description{}, permanent("resolve", ref.Name, errors.New("not a valid URL"), "check its spelling")
	}
	if s := strings.ToLower(u.Scheme); s != "http" && s != "https" || u.Host == "" {
		return Description{}, permanent("resolve", ref.Name, fmt.Errorf("scheme %q", u.Scheme), "use an http or https URL, or one of "+shorthandNames)
	}
	return h.describe(ctx, Description{Ref: ref, URL: name, Checksum: pin})
}

// splitPin takes the checksum off a reference.
func splitPin(ref string) (string, Checksum, error) {
	name, fragment, found := strings.Cut(ref, "#")
	if !found {
		return ref, Checksum{}, nil
	}
	algorithm, digits, _ := strings.Cut(fragment, "=")
	c, err := parseChecksum(algorithm, digits, "the image reference")
	return name, c, err
}

// describe asks the origin about d.URL by a request for its first byte: what it
// says of the whole then holds for the download, which HEAD does not promise.
func (h *HTTP) describe(ctx context.Context, d Description) (Description, error) {
	resp, err := h.get(ctx, "resolve", d, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return Description{}, err
	}
	defer resp.Body.Close()
	d.Size = resp.ContentLength
	d.ETag, d.LastModified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		if _, d.Size, err = parseContentRange(resp.Header.Get("Content-Range")); err != nil {
			return Description{}, fail("resolve", d.URL, err, "the server is broken")
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return Description{}, permanent("resolve", d.URL, fmt.Errorf("%w: it is empty", ErrFormat), "")
	default:
		return Description{}, statusError("resolve", d.URL, resp)
	}
	return d, nil
}

// get sends a request on behalf of d's reference. The body is under an idle
// timeout. Any status is a response.
func (h *HTTP) get(ctx context.Context, op string, d Description, header http.Header) (*http.Response, error) {
	ctx, watch := newWatchdog(ctx, h.config.IdleTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		watch.stop()
		return nil, permanent(op, d.URL, errors.New("not a valid URL"), "check its spelling")
	}
	req.Header = header
	req.Header.Set("User-Agent", h.config.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	client := h.guarded
	if d.Ref.Trusted {
		client = h.open
	}
	resp, err := client.Do(req)
	if err != nil {
		err = transportError(op, d.URL, watch.explain(err))
		watch.stop()
		return nil, err
	}
	watch.timer.Stop()
	resp.Body = &watchedBody{ReadCloser: resp.Body, watch: watch}
	return resp, nil
}
