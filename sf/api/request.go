package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// request is one request on its way to an answer.
type request struct {
	*server
	http  *http.Request
	w     http.ResponseWriter
	id    string
	route *route
	args  *args

	namespace string  // of the caller; empty where anyone may call
	claims    *claims // of the caller's token
	instance  *spec.Instance
	network   *spec.Network
	snapshot  *spec.Snapshot
	nic       *spec.Interface

	started     bool            // part of the answer has been sent
	broken      bool            // and the rest cannot be
	made        object          // by the request
	err         error           // that it was answered with
	largeBody   func()          // gives back the room of a large body; nil where there is none
	waiting     context.Context // ends when the request has waited as long as it may; see patient
	stopWaiting context.CancelFunc
}

// object names what a request is about, for the audit.
type object struct {
	kind spec.Kind
	id   string
}

// What handlers return besides what is to be encoded as JSON.
type (
	raw      []byte // JSON, with its newline
	text     []byte // plain text
	streamed int    // the handler has answered, with this status
)

// ServeHTTP answers one request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = single(r)
	if !clean(r.URL.EscapedPath()) {
		s.serve(w, r, nil)
		return
	}
	s.mux.ServeHTTP(w, escaped(r))
}

// single returns a request whose path begins with one slash. Clients put an API URL that
// ends in one before paths, and the seed's server leads them to the right one.
func single(r *http.Request) *http.Request {
	p := r.URL.EscapedPath()
	n := len(p) - len(strings.TrimLeft(p, "/")) - 1
	if n < 1 {
		return r
	}
	u := *r.URL
	u.Path = u.Path[n:]
	if u.RawPath != "" {
		u.RawPath = u.RawPath[n:]
	}
	r = r.WithContext(r.Context()) // a copy
	r.URL = &u
	return r
}

// escaped returns a request whose path the mux takes for what it is. Otherwise it
// would decode the path first, and redirect from a name like "%2E%2E" as if it
// were a step upwards. See request.path for the other half.
func escaped(r *http.Request) *http.Request {
	p := r.URL.EscapedPath()
	if p == r.URL.Path {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = p, ""
	r = r.WithContext(r.Context()) // a copy
	r.URL = &u
	return r
}

// path returns an argument of the path.
func (q *request) path(name string) string {
	v := q.http.PathValue(name)
	if text, err := url.PathUnescape(v); err == nil {
		return text
	}
	return v
}

// serve answers a request for a URL that has the given methods.
func (s *server) serve(w http.ResponseWriter, r *http.Request, m methods) {
	start := s.Now()
	q := &request{server: s, http: r, w: w, id: s.requestID(r), route: m.find(r.Method)}
	w.Header().Set("X-Request-Id", q.id)
	s.meter.begin()
	var status int
	switch {
	case m == nil:
		status = q.unknownURL()
	case q.route == nil:
		status = q.unknownMethod(m)
	default:
		status = q.answer(q.run())
	}
	q.end()
	took := s.Now().Sub(start)
	s.meter.end(q.route, status, took)
	q.log(status, took)
	if q.broken {
		panic(http.ErrAbortHandler) // cuts the connection
	}
}

// requestID is the caller's name for the request, where it is one, or a new one.
func (s *server) requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); spec.ValidLabel(id) {
		return id
	}
	return s.NewID()
}

// run authorises the request, reads its arguments and runs its handler.
func (q *request) run() (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			reply, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if q.route.access != anyone {
		if err := q.authenticate(); err != nil {
			return nil, err
		}
	}
	if err := q.mayCall(); err != nil {
		return nil, err
	}
	if err := q.readArgs(); err != nil {
		return nil, err
	}
	if err := q.lookUp(); err != nil {
		return nil, err
	}
	if err := q.args.check(q.route); err != nil {
		return nil, err
	}
	if err := q.switches(); err != nil {
		return nil, err
	}
	if err := q.unchanged(); err != nil {
		return nil, err
	}
	if err := q.onlyOnce(); err != nil {
		return nil, err
	}
	if node := q.elsewhere(); node != "" {
		return q.sendOn(node)
	}
	return q.route.handle(q)
}

// mayCall refuses who may not use the route, whatever its object is.
func (q *request) mayCall() error {
	switch {
	case q.isAdmin():
	case q.route.access == admin, q.route.access == member && q.path("namespace") != q.namespace:
		return refused("unauthorized")
	}
	return nil
}

// end lets go of what the request holds.
func (q *request) end() {
	q.doneReading()
	if q.stopWaiting != nil {
		q.stopWaiting()
	}
}

func (q *request) isAdmin() bool { return q.namespace == spec.System }

// owns reports whether the caller may know of an object of a namespace.
func (q *request) owns(namespace string) bool {
	return q.isAdmin() || namespace != "" && q.namespace == namespace
}

// lookUp finds the object of the path and hides it from those who don't own it.
func (q *request) lookUp() (err error) {
	switch q.route.access {
	case instanceOwner:
		q.instance, err = q.cloud.Instance(q.ctx(), q.path("instance_uuid"))
		if err == nil && !q.owns(q.instance.Namespace) {
			return errInstanceNotFound
		}
		return or(err, errInstanceNotFound)
	case networkOwner:
		q.network, err = q.cloud.Network(q.ctx(), q.path("network_uuid"))
		if err == nil && !q.owns(q.network.Namespace) {
			return errNetworkNotFound
		}
		return or(err, errNetworkNotFound)
	case snapshotOwner:
		id := q.path("snapshot_uuid")
		if !spec.ValidUUID(id) {
			return errSnapshotNotFound
		}
		q.snapshot, err = q.cloud.SnapshotByID(q.ctx(), id)
		if err == nil && !q.owns(q.snapshot.Namespace) {
			return errSnapshotNotFound
		}
		return or(err, errSnapshotNotFound)
	case interfaceOwner:
		q.nic, err = q.cloud.Interface(q.ctx(), q.path("interface_uuid"))
		if err == nil && !q.owns(q.nic.Namespace) {
			return q.noInterface()
		}
		return or(err, q.noInterface())
	}
	return nil
}

// ctx is for calls that read: it ends when the caller hangs up.
func (q *request) ctx() context.Context { return q.http.Context() }

// lasting is for calls that change something: a caller that hangs up in the
// middle cancels nothing.
func (q *request) lasting() context.Context { return context.WithoutCancel(q.http.Context()) }

// patient is for waits: it ends when the request has waited as long as requests
// may, all its waits together, or the caller hangs up, or the server is to stop.
func (q *request) patient() context.Context {
	if q.waiting == nil {
		q.doneReading() // what was asked for is recorded by now
		q.waiting, q.stopWaiting = context.WithTimeout(q.ctx(), q.Timeout)
	}
	return q.waiting
}

// switches refuses one that is neither on nor off: nobody who asks for a dry run in other
// words should get a wet one.
func (q *request) switches() error {
	if q.http.URL.RawQuery == "" {
		return nil
	}
	query := q.http.URL.Query()
	for _, name := range []string{"async", "dry_run"} {
		s := query.Get(name)
		if _, err := strconv.ParseBool(s); err != nil && s != "" && q.route.takes(name) {
			return invalid(fmt.Sprintf("%s should be true or false, or 1 or 0, not %q", name, s))
		}
	}
	return nil
}

// takes reports whether the route heeds something in the query string.
func (rt *route) takes(name string) bool {
	return slices.Contains(strings.Fields(descriptions[rt.method+" "+rt.pattern].query), name)
}

// asked reports whether a switch of the query string is on, as in ?async=1.
func (q *request) asked(name string) bool {
	if q.http.URL.RawQuery == "" {
		return false
	}
	on, err := strconv.ParseBool(q.http.URL.Query().Get(name))
	return err == nil && on
}
