package image

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// neighbourhood is caches that reach each other by their names.
type neighbourhood struct {
	t      testing.TB
	mu     sync.Mutex
	hosts  map[string]*httptest.Server
	asked  []string // "host path range"
	before func(host string, w http.ResponseWriter, r *http.Request) bool
}

// cache opens a cache that may ask the others, and that they may ask.
func (n *neighbourhood) cache(name string, change ...func(*CacheConfig)) *Cache {
	n.t.Helper()
	config := testConfig()
	config.Neighbour = func(host string) (*url.URL, http.RoundTripper, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		s := n.hosts[host]
		if s == nil {
			return nil, nil, errors.New("no way to " + host)
		}
		base, err := url.Parse(s.URL)
		return base, s.Client().Transport, err
	}
	for _, f := range change {
		f(&config)
	}
	c := newTestCache(n.t, config)
	n.serve(name, c)
	return c
}

func (n *neighbourhood) serve(name string, c *Cache) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, LendingPath), "/")
		n.asked = append(n.asked, strings.TrimSpace(name+" "+kind+" "+r.Header.Get("Range")))
		before := n.before
		n.mu.Unlock()
		if before == nil || before(name, w, r) {
			c.ServeHTTP(w, r)
		}
	}))
	n.t.Cleanup(s.Close)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]*httptest.Server{}
	}
	n.hosts[name] = s
}

// heard returns what was asked since it was last called.
func (n *neighbourhood) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() { n.asked = nil }()
	return n.asked
}

func near(ref driver.ImageRef, hosts ...string) driver.ImageRef {
	ref.Near = hosts
	return ref
}

// lent checks that a fetch gives content without a download from the web.
func (n *neighbourhood) lent(c *Cache, w *webServer, path string, content []byte, hosts ...string) driver.Image {
	n.t.Helper()
	before := w.gets(path)
	image, err := c.Fetch(n.t.Context(), near(trusted(w.URL+path), hosts...), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	cached, err := c.Get(image.ID)
	if err != nil {
		n.t.Fatal(err)
	}
	if got, err := os.ReadFile(cached.Path); err != nil || sum256(got) != sum256(content) {
		n.t.Errorf("%s: %d bytes, want %d, %v", path, len(got), len(content), err)
	}
	if gets := w.gets(path) - before; gets != 0 {
		n.t.Errorf("%s: %d downloads from its origin, with %v: %v", path, gets, hosts, n.asked)
	}
	if left := leftovers(n.t, c); len(left) > 0 {
		n.t.Errorf("%s: left behind: %v", path, left)
	}
	return image
}

// What a neighbour has is copied, compressed at its origin or not, and is the same
// image under the same name.
func TestBorrow(t *testing.T) {
	n, w := &neighbourhood{t: t}, newWeb(t)
	a, b := n.cache("a"), n.cache("b")
	plain := rawImage(3 << 20)
	thin := qcow2Image(t, qcow2.Options{Size: 1 << 30})
	for path, f := range map[string]struct{ served, image []byte }{
		"/plain.raw": {plain, plain}, "/packed.raw.gz": {gz(t, plain[:1<<20]), plain[:1<<20]}, "/thin.qcow2": {thin, thin},
	} {
		w.put(path, f.served)
		want, err := a.Fetch(t.Context(), trusted(w.URL+path), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.lent(b, w, path, f.image, "nowhere", "a"); got.ID != want.ID || got.Name != want.Name || got.Stale {
			t.Errorf("%s: %+v at the neighbour, %+v here", path, want, got)
		}
	}
	n.heard()
	if got := n.lent(b, w, "/plain.raw", plain, "a"); len(n.heard()) > 0 { // it is here now
		t.Errorf("a neighbour was asked for %s, which is cached", got.ID)
	}
}

// The origin says what is current: what a neighbour has of yesterday is not taken,
// nor what it has under another checksum, nor where nothing tells which is which.
func TestBorrowIsFresh(t *testing.T) {
	n, w := &neighbourhood{t: t}, newWeb(t)
	a, b := n.cache("a"), n.cache("b")
	old, now := rawImage(1<<20), rawImage(2<<20)
	w.put("/i", old)
	mustFetch(t, a, w.URL+"/i", old)
	w.put("/i", now)
	if image, err := b.Fetch(t.Context(), near(trusted(w.URL+"/i"), "a"), nil); err != nil || image.ID != sum256(now) {
		t.Errorf("of a changed origin: %+v, %v", image, err)
	}
	// A pinned checksum is what counts, though the origin announces other bytes by now.
	mustFetch(t, a, w.URL+"/i", now)
	pinned := near(trusted(w.URL+"/i#sha256="+sum256(old)), "a")
	if image, err := b.Fetch(t.Context(), pinned, nil); !errors.Is(err, ErrChecksum) {
		t.Errorf("pinned to what nobody has: %+v, %v", image, err)
	}
	pinned.Name = w.URL + "/i#sha256=" + sum256(now)
	if image, err := n.cache("c").Fetch(t.Context(), pinned, nil); err != nil || image.ID != sum256(now) {
		t.Errorf("pinned: %+v, %v", image, err)
	}
	f := w.put("/bare", old)
	f.etag, f.modified = "", time.Time{}
	mustFetch(t, a, w.URL+"/bare", old)
	n.heard()
	if _, err := n.cache("d").Fetch(t.Context(), near(trusted(w.URL+"/bare"), "a"), nil); err != nil || w.gets("/bare") != 2 {
		t.Errorf("without validators: %v, %d downloads, %v", err, w.gets("/bare"), n.heard())
	}
}

// A neighbour that breaks off is gone on with from there, one that lies or has gone
// is done without, and a partial copy goes on elsewhere.
func TestBorrowFromTheUnreliable(t *testing.T) {
	content := rawImage(3 << 20)
	half := len(content) / 2
	cut := func(w http.ResponseWriter) { // a body that breaks off
		w.Header().Set("Content-Length", "3145728")
		w.Write(content[:half])
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		answer func(host string, times int, w http.ResponseWriter, r *http.Request) bool
		origin int // downloads from it
		heard  string
	}{
		"breaks once": {func(_ string, times int, w http.ResponseWriter, _ *http.Request) bool {
			if times == 1 {
				cut(w)
			}
			return true
		}, 0, "a id bytes=1572864-"},
		"dies in the middle": {func(host string, times int, w http.ResponseWriter, _ *http.Request) bool {
			if host == "a" && times == 1 {
				cut(w)
			}
			return host == "b"
		}, 0, "b id bytes=1572864-"},
		"is busy": {func(host string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			if host == "a" {
				http.Error(w, "busy", http.StatusServiceUnavailable)
			}
			return host == "b"
		}, 0, "b id"},
		"sends other bytes": {func(_ string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			bad := slices.Clone(content)
			bad[len(bad)-1]++
			w.Write(bad)
			return false
		}, 1, "a id"},
		"sends too much": {func(_ string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Write(append(slices.Clone(content), 1))
			return false
		}, 1, "a id"},
		"forgets": {func(_ string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			http.NotFound(w, nil)
			return false
		}, 1, "b id"},
	} {
		t.Run(name, func(t *testing.T) {
			n, w := &neighbourhood{t: t}, newWeb(t)
			w.put("/i", content)
			for _, host := range []string{"a", "b"} {
				mustFetch(t, n.cache(host), w.URL+"/i", content)
			}
			times := map[string]int{}
			n.before = func(host string, w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/id/") {
					return true
				}
				n.mu.Lock()
				times[host]++
				k := times[host]
				n.mu.Unlock()
				return c.answer(host, k, w, r)
			}
			here := n.cache("here")
			image, err := here.Fetch(t.Context(), near(trusted(w.URL+"/i"), "a", "b"), nil)
			heard := n.heard()
			if err != nil || image.ID != sum256(content) || w.gets("/i") != 2+c.origin || !slices.Contains(heard, c.heard) {
				t.Errorf("%+v, %v; %d downloads; the neighbours heard %q", image, err, w.gets("/i"), heard)
			}
			if left := leftovers(t, here); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// When the origin does not answer, what a neighbour has had serves, as long as who
// asks may have it: not a tenant what an administrator fetched.
func TestBorrowStale(t *testing.T) {
	n, w := &neighbourhood{t: t}, newWeb(t)
	content := rawImage(1 << 20)
	w.put("/i", content)
	mustFetch(t, n.cache("a"), w.URL+"/i", content)
	w.set(func() { w.before = func(*http.Request) bool { return false } })
	b := n.cache("b")
	if image, err := b.Fetch(t.Context(), near(trusted(w.URL+"/i"), "a"), nil); err != nil || !image.Stale || image.ID != sum256(content) {
		t.Errorf("the origin is away: %+v, %v", image, err)
	}
	if image, err := b.Fetch(t.Context(), trusted(w.URL+"/i"), nil); err != nil || !image.Stale { // from its own cache now
		t.Errorf("again: %+v, %v", image, err)
	}
	c := n.cache("c", func(config *CacheConfig) { config.Source = brokenSource{} })
	if image, err := c.Fetch(t.Context(), near(driver.ImageRef{Name: w.URL + "/i"}, "a"), nil); err == nil {
		t.Errorf("a tenant got %+v", image)
	}
	w.set(func() { w.before, w.files["/i"].status = nil, http.StatusUnauthorized })
	if image, err := n.cache("d").Fetch(t.Context(), near(trusted(w.URL+"/i"), "a"), nil); !errors.Is(err, ErrDenied) {
		t.Errorf("the origin denies access: %+v, %v", image, err)
	}
}

// A hundred callers share one copy, and who is cancelled does not spoil it.
func TestBorrowOnce(t *testing.T) {
	n, w := &neighbourhood{t: t}, newWeb(t)
	content := rawImage(1 << 20)
	w.put("/i", content)
	mustFetch(t, n.cache("a"), w.URL+"/i", content)
	here := n.cache("here")
	var all sync.WaitGroup
	for k := range 100 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if k%10 == 0 {
				cancel()
			}
			image, err := here.Fetch(ctx, near(trusted(w.URL+"/i"), "a"), nil)
			if k%10 != 0 && (err != nil || image.ID != sum256(content)) {
				t.Errorf("%+v, %v", image, err)
			}
		})
	}
	all.Wait()
	heard := n.heard()
	if got := len(slices.DeleteFunc(heard, func(s string) bool { return s != "a id" })); got != 1 || w.gets("/i") != 1 {
		t.Errorf("%d copies, %d downloads", got, w.gets("/i"))
	}
}

// What is served is images of the cache and nothing else, to eight at a time.
func TestLend(t *testing.T) {
	w := newWeb(t)
	content := rawImage(4096)
	w.put("/i", content)
	w.put("/odd", rawImage(4000)) // is padded
	c := newTestCache(t, testConfig())
	mustFetch(t, c, w.URL+"/i", content)
	mustFetch(t, c, w.URL+"/odd", nil)
	ask := func(method, path string) (int, string) {
		r := httptest.NewRecorder()
		c.ServeHTTP(r, httptest.NewRequest(method, path, nil))
		body, _ := io.ReadAll(r.Result().Body)
		return r.Code, string(body)
	}
	for path, want := range map[string]int{
		"url/" + key(w.URL+"/i"): 200, "name/" + key(w.URL+"/i"): 200, "id/" + sum256(content): 200,
		"url/" + key("other"): 404, "name/": 404, "id/../urls": 404, "url/../../x": 404, "": 404, "id/": 404,
		"url/" + key(w.URL+"/odd"): 404,
	} {
		if code, body := ask("GET", LendingPath+path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	if code, _ := ask("DELETE", LendingPath+"id/"+sum256(content)); code != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", code)
	}
	for range maxLending {
		c.lending <- struct{}{}
	}
	if code, body := ask("GET", LendingPath+"id/"+sum256(content)); code != http.StatusServiceUnavailable {
		t.Errorf("with %d readers: %d %s", maxLending, code, body)
	}
}

// Zeros are not written, so that a copy occupies what the image does.
func TestBorrowKeepsHoles(t *testing.T) {
	n, w := &neighbourhood{t: t}, newWeb(t)
	content := make([]byte, 8<<20)
	copy(content[4<<20:], rawImage(1<<20))
	w.put("/i.gz", gz(t, content))
	mustFetch(t, n.cache("a"), w.URL+"/i.gz", content)
	here := n.cache("here")
	image := n.lent(here, w, "/i.gz", content, "a")
	if cached, err := here.Get(image.ID); err != nil || cached.Allocated > 3<<20 {
		t.Errorf("it occupies %d bytes, %v", cached.Allocated, err)
	}
}
