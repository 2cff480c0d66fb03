package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/shakenfist/cloud/sf/spec"
)

// Relay carries requests to other nodes of the cloud: what is about bytes that
// only the node has that runs an instance or keeps a snapshot. They are sent on as
// they came, with the caller's own token, after the node that was asked has
// checked who owns what; the node that answers checks again.
type Relay interface {
	// Node is the name of this process's node; empty where it runs none.
	Node() string
	// To returns the way to another node: where it serves this API, and how to get
	// there. The error says why there is none.
	To(node string) (base *url.URL, via http.RoundTripper, err error)
}

// relayedBy marks a request that came from another node, by that one's name. It is
// not sent on again.
const relayedBy = "X-Relayed-By"

// elsewhere returns the node that alone can answer a request, or "".
func (q *request) elsewhere() string {
	if q.Relay == nil {
		return ""
	}
	node := ""
	switch q.route.pattern {
	case "/instances/{instance_uuid}/consoledata", "/instances/{instance_uuid}/console", "/instances/{instance_uuid}/vdi":
		node = q.instance.Node
	case "/snapshots/{snapshot_uuid}/{device}":
		node = q.snapshot.Node
	}
	if node == q.Relay.Node() {
		return ""
	}
	return node
}

// sendOn has another node answer the request.
func (q *request) sendOn(node string) (any, error) {
	if from := q.http.Header.Get(relayedBy); from != "" {
		return nil, spec.Errorf(spec.ErrUnavailable, "node %s sent this to %s, but it is for node %s: it moved just now, try again", from, q.Relay.Node(), node)
	}
	base, via, err := q.Relay.To(node)
	if err != nil {
		return nil, spec.Errorf(spec.ErrUnavailable, "node %s cannot be asked", node).About("node", node).Because(err)
	}
	body, err := json.Marshal(q.args.values) // the body itself has been read
	if err != nil {
		return nil, err
	}
	has := len(q.args.values) > 0
	q.doneReading()
	var failed error
	w := &watched{ResponseWriter: q.w, status: http.StatusOK}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.URL.RawPath = r.In.URL.RawPath
			r.Out.Body, r.Out.ContentLength = http.NoBody, 0
			if has {
				r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			}
			r.Out.Header.Set(relayedBy, q.Relay.Node())
			r.Out.Header.Set("X-Request-Id", q.id)
		},
		Transport:     via,
		FlushInterval: -1, // consoles are followed
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ErrorLog:      slog.NewLogLogger(q.Logger.Handler(), slog.LevelDebug),
		ModifyResponse: func(r *http.Response) error {
			q.w.Header().Del("X-Request-Id") // it comes with the answer
			return nil
		},
	}
	defer func() { // a copy that breaks off in the middle
		if p := recover(); p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			q.broken = true
		}
	}()
	proxy.ServeHTTP(w, q.http)
	if failed != nil {
		return nil, spec.Errorf(spec.ErrUnavailable, "node %s does not answer", node).About("node", node).Because(failed)
	}
	return streamed(w.status), nil
}

// Unwrap lets http.ResponseController reach the connection, for websockets.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
