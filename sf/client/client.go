package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// Config says which cloud to talk to, and as whom.
type Config struct {
	URL       string `json:"apiurl"`    // of the API; empty is http://localhost:13000
	Namespace string `json:"namespace"` // required
	Key       string `json:"key"`       // one of the namespace's secrets; required
	// Fingerprint is the SHA-256 sum, in hexadecimal, of the server's key or
	// certificate, which then need not be signed by anybody; empty trusts whom the
	// system trusts. It needs an https URL.
	Fingerprint string `json:"fingerprint,omitempty"`

	// HTTP makes the requests; nil is a client without a time limit, since a
	// call is limited by its context. Where it is given, whom it trusts is its
	// business, and Fingerprint must be empty.
	HTTP *http.Client `json:"-"`
	// Around is put around what makes the requests, to watch them; nil is nothing.
	Around func(http.RoundTripper) http.RoundTripper `json:"-"`
	// UserAgent names the program; empty is "shakenfist-go".
	UserAgent string `json:"-"`
	// Sleep waits for d or until ctx is done, and returns ctx's error then; nil
	// uses a timer. It paces repeated requests and the Wait methods.
	Sleep func(ctx context.Context, d time.Duration) error `json:"-"`
	// Rand makes idempotency keys; nil is crypto/rand.
	Rand io.Reader `json:"-"`
}

// DefaultURL is where a daemon on this machine listens.
const DefaultURL = "http://localhost:13000"

// Client talks to one cloud as one namespace. Its methods are safe for
// concurrent use.
type Client struct {
	cfg Config
	*session
	sync    bool   // see Sync
	version string // see AtVersion
}

// session is who the server takes a client for.
type session struct {
	login chan struct{} // capacity 1: full while one caller asks for a token
	mu    sync.Mutex    // guards token
	token string

	// knows says that the server knows idempotency keys and versions, which those of
	// 0.2 don't.
	knows atomic.Bool
}

// Sync returns a client whose creates, deletes, power calls, reboots and
// snapshots return when that has happened, in one request each: the server
// waits. Where it takes longer than the server has patience for (600 s), the
// error is of class ErrTimeout, and the Wait methods go on from there.
func (c *Client) Sync() *Client {
	waiting := *c
	waiting.sync = true
	return &waiting
}

// path is a path whose call the server is to answer at once, or not.
func (c *Client) path(path string) string {
	if c.sync {
		return path
	}
	return path + "?async=1" // servers of 0.2 ignore it, and wait
}

// New returns a client. It makes no connection yet. The error is of class
// ErrInvalid where the configuration can't work.
func New(cfg Config) (*Client, error) {
	if cfg.URL == "" {
		cfg.URL = DefaultURL
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, spec.Errorf(spec.ErrInvalid, "API URL %q is not of the form http://host:13000", cfg.URL)
	}
	if cfg.Namespace == "" || cfg.Key == "" {
		return nil, spec.Errorf(spec.ErrInvalid, "a namespace and one of its keys are needed to talk to %s", cfg.URL)
	}
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	if err := cfg.connect(u.Scheme); err != nil {
		return nil, err
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "shakenfist-go"
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Client{cfg: cfg, session: &session{login: make(chan struct{}, 1)}}, nil
}

// connect fills in how requests are made.
func (cfg *Config) connect(scheme string) error {
	switch {
	case cfg.Fingerprint != "" && scheme != "https":
		return spec.Errorf(spec.ErrInvalid, "there is a fingerprint, but the API URL %s is not https://: nothing would be checked", cfg.URL)
	case cfg.Fingerprint != "" && cfg.HTTP != nil:
		return spec.Errorf(spec.ErrInvalid, "HTTP and Fingerprint are both given: only one can say whom to trust")
	case cfg.HTTP == nil:
		way, err := transport(cfg.Fingerprint)
		if err != nil {
			return err
		}
		cfg.HTTP = &http.Client{Transport: way}
	}
	if cfg.Around == nil {
		return nil
	}
	watched := *cfg.HTTP
	if watched.Transport == nil {
		watched.Transport = http.DefaultTransport
	}
	watched.Transport = cfg.Around(watched.Transport)
	cfg.HTTP = &watched
	return nil
}

// NamespaceName is the namespace that the client acts for.
func (c *Client) NamespaceName() string { return c.cfg.Namespace }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxReply is the most bytes of an answer that are read.
const maxReply = 256 << 20

// call is one request.
type call struct {
	method string
	path   string
	args   any               // encoded as the JSON body; nil is none
	once   string            // idempotency key
	into   any               // where the answer goes: *[]byte as it is, else decoded from JSON; nil for nowhere
	seen   func(http.Header) // gets the header of a success, where it is not nil
}

// repeatable reports whether asking twice does no more than asking once. What is bound to
// a version would fail the second time for having succeeded the first.
func (c *Client) repeatable(k *call) bool {
	return k.method == http.MethodGet || k.method == http.MethodPut && c.version == "" || k.once != "" && c.knows.Load()
}

// get asks for path and decodes the answer into v.
func (c *Client) get(ctx context.Context, path string, v any) error {
	return c.do(ctx, call{method: http.MethodGet, path: path, into: v})
}

const attempts = 3

// do makes a call: with a token, with a new one where the server refuses it, and
// again where the connection broke and that is safe.
func (c *Client) do(ctx context.Context, k call) error {
	var body []byte
	if k.args != nil {
		var err error
		if body, err = json.Marshal(k.args); err != nil {
			return fmt.Errorf("%s %s: encode the arguments: %w", k.method, k.path, err)
		}
	}
	for attempt := 1; ; attempt++ {
		reply, err := c.authorized(ctx, &k, body)
		if err == nil {
			return decode(k, reply)
		}
		if attempt == attempts || !c.repeatable(&k) || !errors.Is(err, spec.ErrUnavailable) || refusedConnection(err) {
			return err
		}
		if err := c.cfg.Sleep(ctx, time.Duration(attempt)*200*time.Millisecond); err != nil {
			return err
		}
	}
}

func decode(k call, reply []byte) error {
	if raw, ok := k.into.(*[]byte); ok {
		*raw = reply
		return nil
	}
	if k.into == nil {
		return nil
	}
	if err := json.Unmarshal(reply, k.into); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected, is this a Shaken Fist API? %w", k.method, k.path, err)
	}
	return nil
}

// authorized sends a request with a token.
func (c *Client) authorized(ctx context.Context, k *call, body []byte) ([]byte, error) {
	return withToken(ctx, c, func(token string) ([]byte, error) { return c.send(ctx, k, body, token) })
}

// withToken tries something with a token. A server that says the token is not good
// gets one new token and the same again.
func withToken[T any](ctx context.Context, c *Client, try func(token string) (T, error)) (T, error) {
	var none T
	token, err := c.authorize(ctx, "")
	if err != nil {
		return none, err
	}
	v, err := try(token)
	if !stale(err) {
		return v, err
	}
	if token, err = c.authorize(ctx, token); err != nil {
		return none, err
	}
	return try(token)
}

// stale reports whether a new token could help. Servers of 0.2 answer 401 for
// "you may not" as well; ours tells the two apart.
func stale(err error) bool { return errors.Is(err, spec.ErrUnauthorized) }

// current returns the token, and whether it is another than the given one.
func (c *Client) current(bad string) (token string, good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token, c.token != bad
}

// authorize returns a token other than the given one, which is no good. Of several
// callers who want one, one asks; the others wait for that as long as they care to, and
// who has a good token waits for nobody.
func (c *Client) authorize(ctx context.Context, bad string) (string, error) {
	if token, good := c.current(bad); good {
		return token, nil
	}
	select {
	case c.login <- struct{}{}:
		defer func() { <-c.login }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token, good := c.current(bad); good {
		return token, nil
	}
	body, err := json.Marshal(map[string]string{"namespace": c.cfg.Namespace, "key": c.cfg.Key})
	if err != nil {
		return "", err
	}
	k := call{method: http.MethodPost, path: "/auth"}
	reply, err := c.send(ctx, &k, body, "")
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	k.into = &answer
	if err := decode(k, reply); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = answer.AccessToken
	return c.token, nil
}

// send makes one HTTP request and returns the body of a success.
func (c *Client) send(ctx context.Context, k *call, body []byte, token string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, k.method, c.cfg.URL+k.path, bytes.NewReader(body))
	if err != nil {
		return nil, spec.Errorf(spec.ErrInvalid, "%s %s", k.method, k.path).Because(err)
	}
	c.setHeader(r.Header, token)
	if k.once != "" {
		r.Header.Set("Idempotency-Key", k.once)
	}
	if token != "" { // asking for one changes nothing
		if err := c.setVersion(k, r.Header); err != nil {
			return nil, err
		}
	}
	w, err := c.open(r, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	if k.seen != nil {
		k.seen(w.Header)
	}
	reply, err := io.ReadAll(io.LimitReader(w.Body, maxReply))
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	return reply, nil
}

// open makes a request and returns an answer of one of the given statuses, whose
// body the caller closes.
func (c *Client) open(r *http.Request, statuses ...int) (*http.Response, error) {
	w, err := c.cfg.HTTP.Do(r)
	if err != nil {
		return nil, c.broken(r.Context(), err)
	}
	if w.Header.Get("X-Request-Id") != "" { // which came with idempotency keys
		c.knows.Store(true)
	}
	if slices.Contains(statuses, w.StatusCode) {
		return w, nil
	}
	defer w.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(w.Body, maxReply))
	if err != nil {
		return nil, c.broken(r.Context(), err)
	}
	e := newError(w.StatusCode, reply)
	e.Request = w.Header.Get("X-Request-Id")
	return nil, e
}

func (c *Client) setHeader(h http.Header, token string) {
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", c.cfg.UserAgent)
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
}

// onceKey returns the idempotency key of a create: the caller's, or a new one.
func (c *Client) onceKey(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	var b [16]byte
	if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
		return "", fmt.Errorf("make an idempotency key: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// pathOf joins parts to a path, each escaped.
func pathOf(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}
