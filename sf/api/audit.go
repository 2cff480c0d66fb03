package api

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// log writes the request's line, and for what changes something, gives out a
// token, or opens a way into an instance, the audit's: who did what to what, from
// where, and with what outcome. Load balancers ask for / and /healthz all the time.
func (q *request) log(status int, took time.Duration) {
	level := slog.LevelInfo
	if p := q.http.URL.Path; p == "/" || p == "/healthz" {
		level = slog.LevelDebug
	}
	if q.Logger.Enabled(q.ctx(), level) {
		q.Logger.LogAttrs(q.ctx(), level, "request",
			slog.String("method", q.http.Method), slog.String("path", q.http.URL.Path),
			slog.Int("status", status), slog.Duration("took", took),
			slog.String("namespace", q.namespace), slog.String("from", remote(q.http)), slog.String("request", q.id))
	}
	if q.route != nil && q.route.audited() && q.Logger.Enabled(q.ctx(), slog.LevelInfo) {
		q.audit(status)
	}
}

// audited reports whether use of the route is for the audit.
func (rt *route) audited() bool {
	return rt.method != http.MethodGet || strings.HasSuffix(rt.pattern, "/console") || strings.HasSuffix(rt.pattern, "/vdi") ||
		strings.HasSuffix(rt.pattern, "/{device}")
}

func (q *request) audit(status int) {
	o := q.about()
	attrs := []slog.Attr{
		slog.String("action", q.route.method+" "+q.route.pattern),
		slog.String("namespace", q.namespace),
		slog.String("from", remote(q.http)),
		slog.String("kind", string(o.kind)), slog.String("object", o.id),
		slog.String("outcome", q.outcome(status)), slog.Int("status", status),
		slog.String("request", q.id),
	}
	if q.claims != nil {
		attrs = append(attrs, slog.String("key", q.claims.Key))
	}
	q.Logger.LogAttrs(q.ctx(), slog.LevelInfo, "audit", attrs...)
}

// outcome is done, or the class of what it was refused or failed with.
func (q *request) outcome(status int) string {
	switch {
	case status == statusGone:
		return "gone" // nobody waited for the end
	case status < 400:
		return "done"
	}
	class := spec.ClassOf(q.err)
	for _, c := range spec.Classes {
		if c.Err == class {
			return c.Name
		}
	}
	return "error"
}

// about is what the request is about: what it made, else what its path names.
func (q *request) about() object {
	switch {
	case q.made.id != "":
		return q.made
	case q.instance != nil:
		return object{spec.KindInstance, q.instance.UUID}
	case q.network != nil:
		return object{spec.KindNetwork, q.network.UUID}
	case q.snapshot != nil:
		return object{spec.KindSnapshot, q.snapshot.UUID}
	case q.nic != nil:
		return object{spec.KindInterface, q.nic.UUID}
	}
	for _, named := range []struct {
		arg  string
		kind spec.Kind
	}{{"instance_uuid", spec.KindInstance}, {"network_uuid", spec.KindNetwork}, {"snapshot_uuid", spec.KindSnapshot},
		{"interface_uuid", spec.KindInterface}, {"namespace", spec.KindNamespace}, {"node", spec.KindNode}, {"image_id", "image"}} {
		if id := q.path(named.arg); id != "" {
			return object{named.kind, id}
		}
	}
	return object{}
}
