package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"

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
}

// What handlers return besides what is to be encoded as JSON.
type (
	raw      []byte // JSON, with its newline
	text     []byte // plain text
	streamed int    // the handler has answered, with this status
)

// ServeHTTP answers one request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !clean(r.URL.EscapedPath()) {
		s.serve(w, r, nil)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// serve answers a request for a URL that has the given methods.
func (s *server) serve(w http.ResponseWriter, r *http.Request, m methods) {
	start := s.Now()
	q := &request{server: s, http: r, w: w, id: s.NewID(), route: m.find(r.Method)}
	w.Header().Set("X-Request-Id", q.id)
	var status int
	switch {
	case m == nil:
		status = q.unknownURL()
	case q.route == nil:
		status = q.unknownMethod(m)
	default:
		status = q.answer(q.run())
	}
	q.log(status, s.Now().Sub(start))
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
	if q.route.access == admin && !q.isAdmin() {
		return nil, refused("unauthorized")
	}
	if q.args, err = readArgs(q.w, q.http, q.MaxBody); err != nil {
		return nil, err
	}
	if err := q.lookUp(); err != nil {
		return nil, err
	}
	if err := q.args.check(q.route); err != nil {
		return nil, err
	}
	if node := q.elsewhere(); node != "" {
		return q.sendOn(node)
	}
	return q.route.handle(q)
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
		q.instance, err = q.cloud.Instance(q.ctx(), q.http.PathValue("instance_uuid"))
		if err == nil && !q.owns(q.instance.Namespace) {
			return errInstanceNotFound
		}
		return or(err, errInstanceNotFound)
	case networkOwner:
		q.network, err = q.cloud.Network(q.ctx(), q.http.PathValue("network_uuid"))
		if err == nil && !q.owns(q.network.Namespace) {
			return errNetworkNotFound
		}
		return or(err, errNetworkNotFound)
	case snapshotOwner:
		id := q.http.PathValue("snapshot_uuid")
		if !spec.ValidUUID(id) {
			return errSnapshotNotFound
		}
		q.snapshot, err = q.cloud.SnapshotByID(q.ctx(), id)
		if err == nil && !q.owns(q.snapshot.Namespace) {
			return errSnapshotNotFound
		}
		return or(err, errSnapshotNotFound)
	case interfaceOwner:
		q.nic, err = q.cloud.Interface(q.ctx(), q.http.PathValue("interface_uuid"))
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

// asked reports whether a switch of the query string is on, as in ?async=1.
func (q *request) asked(name string) bool {
	if q.http.URL.RawQuery == "" {
		return false
	}
	on, err := strconv.ParseBool(q.http.URL.Query().Get(name))
	return err == nil && on
}
