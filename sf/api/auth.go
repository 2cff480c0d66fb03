package api

import (
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// root says who is there. Load balancers ask for it.
func (q *request) root() (any, error) { return text("Shaken Fist REST API service"), nil }

// auth exchanges a namespace and one of its keys for a token.
func (q *request) auth() (any, error) {
	switch {
	case !q.args.given("namespace"):
		return nil, q.args.missing("missing namespace in request")
	case !q.args.given("key"):
		return nil, q.args.missing("missing key in request")
	case !q.args.isText("key"):
		return nil, errKeyNotText
	}
	namespace, secret := q.args.text("namespace"), q.args.text("key")
	if q.args.err != nil {
		return nil, q.args.err
	}
	if spec.ValidLabel(namespace) { // what else is not for the log: it may be a key
		q.made = object{spec.KindNamespace, namespace}
	}
	key, err := q.checkSecret(namespace, secret)
	if err != nil {
		return nil, err
	}
	token, err := q.tokens.issue(namespace, key)
	if err != nil {
		return nil, err
	}
	return accessToken{token}, nil
}

// checkSecret finds the key that a secret belongs to. A caller who was wrong
// before waits first; how many secrets are checked at a time is the cloud's to
// bound.
func (q *request) checkSecret(namespace, secret string) (*spec.Key, error) {
	leave, err := q.logins.enter(q.ctx(), remote(q.http))
	if err != nil {
		return nil, errGone
	}
	defer leave()
	// A digest: what is remembered of callers must not be as large as they like.
	digest := sha256.Sum256([]byte(namespace + "\x00" + remote(q.http)))
	who := string(digest[:])
	if d := q.throttle.delay(who); d > 0 {
		if err := q.Sleep(q.ctx(), d); err != nil {
			return nil, errGone
		}
	}
	key, err := q.cloud.Authenticate(q.ctx(), namespace, secret)
	if errors.Is(err, spec.ErrUnauthorized) || errors.Is(err, spec.ErrNotFound) {
		q.throttle.failed(who)
		return nil, unauthorized("unauthorized")
	}
	if err == nil {
		q.throttle.succeeded(who)
	}
	return key, err
}

// remote is the address that a request came from, without the port.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// authenticate finds out who is calling.
func (q *request) authenticate() error {
	header := q.http.Header.Get("Authorization")
	if header == "" {
		header = fromBrowser(q.http.Header)
	}
	if header == "" {
		return unauthorized("Missing Authorization Header")
	}
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || token == "" || strings.Contains(token, " ") {
		return unauthorized("Bad Authorization header. Expected value 'Bearer <JWT>'")
	}
	c, err := q.tokens.verify(token)
	if err != nil {
		return err
	}
	q.claims = c
	if err := q.stillAllowed(); err != nil {
		return err
	}
	q.namespace = c.Identity
	return nil
}

// fromBrowser is the token of a websocket from a page, which cannot set headers
// except for the subprotocols it offers: one of them may be "bearer." and a token.
// Unlike in a URL, nothing on the way writes it into its log.
func fromBrowser(h http.Header) string {
	if h.Get("Upgrade") == "" {
		return ""
	}
	for _, offers := range h.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(offers, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "bearer."); ok {
				return "Bearer " + token
			}
		}
	}
	return ""
}

// stillAllowed checks that the key of the caller's token is still there, and
// still the same one.
func (q *request) stillAllowed() error {
	revoked := unauthorized("Token has been revoked")
	ns, err := q.cloud.Namespace(q.ctx(), q.claims.Identity)
	if errors.Is(err, spec.ErrNotFound) {
		return revoked
	}
	if err != nil {
		return err
	}
	for _, k := range ns.Keys {
		if k.Name == q.claims.Key && k.Nonce == q.claims.Nonce {
			return nil
		}
	}
	return revoked
}
