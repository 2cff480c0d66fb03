package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// version is what the object of the path is at; "" where it has no versions.
func (q *request) version() string {
	switch {
	case q.instance != nil:
		return q.instance.Version
	case q.network != nil:
		return q.network.Version
	}
	return ""
}

// unchanged holds If-Match against the object of the path, before anything is
// done. A condition that cannot be checked is refused, never ignored. Handlers of
// metadata check theirs in the transaction that changes it.
func (q *request) unchanged() error {
	if q.http.Header.Get("If-Match") == "" || strings.Contains(q.route.pattern, "/metadata") {
		return nil
	}
	v := q.version()
	if v == "" || !q.route.conditional() {
		return invalid("If-Match can be said of instances, of networks and of metadata only")
	}
	return q.match(v)
}

// onlyOnce refuses a key that the route would not keep: whoever repeats a request
// because of it would have it done twice. Where twice is once it may be said.
func (q *request) onlyOnce() error {
	if q.http.Header.Get("Idempotency-Key") == "" {
		return nil
	}
	switch last := q.route.pattern[strings.LastIndexByte(q.route.pattern, '/')+1:]; {
	case q.route.method != http.MethodPost:
	case strings.HasPrefix(last, "reboot"), last == "snapshot", last == "recover":
		return invalid("an Idempotency-Key is for creating instances and networks: a repeated request of this kind is done again")
	}
	return nil
}

// match is nil where the request allows a version; otherwise the status is 412.
func (q *request) match(version string) error {
	if want := q.http.Header.Get("If-Match"); want != "" && !among(version, want) {
		return &fault{http.StatusPreconditionFailed, spec.ErrConflict, "it has changed: its version is " + strconv.Quote(version) + ", not " + want}
	}
	return nil
}

// among reports whether a list of entity tags has a version.
func among(version, tags string) bool {
	for tag := range strings.SplitSeq(tags, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == strconv.Quote(version) {
			return true
		}
	}
	return false
}

// tagged is an answer with its version: a 304 without a body for who has it already.
func (q *request) tagged(version string, reply any, err error) (any, error) {
	if err != nil || version == "" {
		return reply, err
	}
	q.w.Header().Set("ETag", strconv.Quote(version))
	if have := q.http.Header.Get("If-None-Match"); have != "" && among(version, strong(have)) {
		q.w.WriteHeader(http.StatusNotModified)
		return streamed(http.StatusNotModified), nil
	}
	return reply, nil
}

// strong makes weak entity tags strong: proxies that compress weaken them, and to read
// something again the same JSON is the same.
func strong(tags string) string { return strings.ReplaceAll(tags, `W/"`, `"`) }

// versionOf is the version of metadata, which has no other: a digest.
func versionOf(m spec.Metadata) string {
	text, err := json.Marshal(m) // sorts the keys
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
