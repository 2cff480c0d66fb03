package image

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"
)

// What one cache asks of another. Whoever serves it lets only hosts in that may
// have everything.
//
//	GET <LendingPath>url/KEY    an offer: what the URL with this key gave
//	GET <LendingPath>name/KEY   an offer: what the reference with this key led to
//	GET <LendingPath>id/ID      the image's bytes, from any offset
const LendingPath = "/peer/image/"

// maxLending is how many images other hosts read at a time; who comes then gets 503
// and goes elsewhere.
const maxLending = 8

// offer is what a cache has.
type offer struct {
	Name   resolved `json:"name"` // of the reference, where that was asked about
	Origin origin   `json:"origin"`
	Size   int64    `json:"size"` // bytes of the file
}

// ServeHTTP answers other hosts' caches.
func (c *Cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, LendingPath), "/")
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
	case kind == "id":
		c.lend(w, r, what)
	default:
		c.serveOffer(w, kind, what)
	}
}

func (c *Cache) serveOffer(w http.ResponseWriter, kind, key string) {
	var o offer
	switch {
	case !isHash(key):
	case kind == "name" && c.load(namesDir, key, &o.Name):
		c.load(urlsDir, o.Name.URLKey, &o.Origin)
	case kind == "url":
		c.load(urlsDir, key, &o.Origin)
	}
	image, err := c.Get(o.Origin.ID)
	var st os.FileInfo
	if err == nil {
		st, err = os.Stat(image.Path)
	}
	// What was made of what was downloaded nobody could check, and a snapshot has no
	// origin that could say what is current.
	if err != nil || o.Origin.Made || o.Origin.Gone || o.Origin.Sums == nil {
		http.Error(w, "no such image in the cache", http.StatusNotFound)
		return
	}
	o.Size = st.Size()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(o) // an error is the reader's, who sees it too
}

// lend sends an image.
func (c *Cache) lend(w http.ResponseWriter, r *http.Request, id string) {
	select {
	case c.lending <- struct{}{}:
		defer func() { <-c.lending }()
	default:
		http.Error(w, "busy with other hosts", http.StatusServiceUnavailable)
		return
	}
	image, err := c.Get(id)
	var f *os.File
	if err == nil {
		f, err = os.Open(image.Path)
	}
	switch {
	case errors.Is(err, ErrNotCached), errors.Is(err, os.ErrNotExist):
		http.Error(w, "no such image in the cache", http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	p := patient{w, http.NewResponseController(w)}
	defer p.control.SetWriteDeadline(time.Time{}) // the connection is used again
	http.ServeContent(p, r, "", time.Time{}, f)
}

// lendPatience is how long a reader may take nothing before its place goes to others.
const lendPatience = 30 * time.Second

// patient is a writer that gives its reader time for each piece, not for the whole.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	// What cannot set a deadline has none: a recorder in a test.
	if err := p.control.SetWriteDeadline(time.Now().Add(lendPatience)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// isHash reports whether s may be a key or an ID, and so part of a path.
func isHash(s string) bool { return imageFile.MatchString(s + ".raw") }
