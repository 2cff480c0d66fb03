package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// webServer is a web server on loopback with files and faults.
type webServer struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string]*webFile
	requests []string // "GET /path bytes=0-0"
	// before sees every request first, under mu; false means it must fail.
	before func(r *http.Request) bool
}

type webFile struct {
	body     []byte
	etag     string
	modified time.Time
	status   int   // if not 0, all there is
	dropAt   []int // cut the n-th download after so many bytes of its body; 0 for never
	serve    http.HandlerFunc
	gets     int // downloads, questions for one byte not counted
}

func newWeb(t testing.TB) *webServer {
	w := &webServer{files: make(map[string]*webFile)}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *webServer) put(path string, body []byte) *webFile {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &webFile{body: body, etag: fmt.Sprintf("%q", sum256(body)[:16]), modified: time.Unix(1_700_000_000, 0)}
	w.files[path] = f
	return f
}

func (w *webServer) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *webServer) gets(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.files[path].gets
}

func (w *webServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.requests = append(w.requests, r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))
	if w.before != nil && !w.before(r) {
		w.mu.Unlock()
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	f := w.files[r.URL.Path]
	if f == nil {
		w.mu.Unlock()
		http.NotFound(rw, r)
		return
	}
	file := *f
	drop := 0
	if r.Header.Get("Range") != "bytes=0-0" {
		if f.gets < len(f.dropAt) {
			drop = f.dropAt[f.gets]
		}
		f.gets++
	}
	w.mu.Unlock()
	switch {
	case file.serve != nil:
		file.serve(rw, r)
		return
	case file.status != 0:
		http.Error(rw, "no", file.status)
		return
	}
	if file.etag != "" {
		rw.Header().Set("ETag", file.etag)
	}
	if drop > 0 {
		rw = &dropper{ResponseWriter: rw, left: drop}
	}
	http.ServeContent(rw, r, r.URL.Path, file.modified, bytes.NewReader(file.body))
}

// dropper breaks the connection after a number of bytes of the body.
type dropper struct {
	http.ResponseWriter
	left int
}

func (d *dropper) Write(p []byte) (int, error) {
	if len(p) >= d.left {
		d.ResponseWriter.Write(p[:d.left])
		http.NewResponseController(d.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	d.left -= len(p)
	return d.ResponseWriter.Write(p)
}

func sum256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// rawImage is a disk of random data with a hole in the middle.
func rawImage(size int) []byte {
	b := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24)})
	rng.Read(b[:size/3])
	rng.Read(b[size*2/3:])
	return b
}

// qcow2Image is an empty qcow2 disk.
func qcow2Image(t testing.TB, o qcow2.Options) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.qcow2")
	if err := qcow2.Create(path, o); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testConfig is a cache on an HTTP source, with no waiting.
func testConfig() CacheConfig {
	return CacheConfig{
		Source:  NewHTTP(HTTPConfig{IdleTimeout: 20 * time.Second}),
		Reserve: 1,
		Sleep:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func newTestCache(t testing.TB, c CacheConfig) *Cache {
	t.Helper()
	cache, err := NewCache(filepath.Join(t.TempDir(), "image_cache"), c)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func trusted(name string) driver.ImageRef { return driver.ImageRef{Name: name, Trusted: true} }

// mustFetch fetches, and checks that the cached file holds content.
func mustFetch(t testing.TB, c *Cache, name string, content []byte) driver.Image {
	t.Helper()
	image, err := c.Fetch(t.Context(), trusted(name), nil)
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	cached, err := c.Get(image.ID)
	if err != nil {
		t.Fatal(err)
	}
	if content != nil {
		got, err := os.ReadFile(cached.Path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Fatalf("the cached file differs: %d bytes, want %d", len(got), len(content))
		}
		if image.ID != sum256(content) {
			t.Errorf("ID %s, want %s", image.ID, sum256(content))
		}
	}
	return image
}

// leftovers lists all that is in the cache's partial and tmp directories.
func leftovers(t testing.TB, c *Cache) []string {
	t.Helper()
	var all []string
	for _, sub := range []string{partialDir, tmpDir} {
		entries, err := os.ReadDir(filepath.Join(c.dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, sub+"/"+e.Name())
		}
	}
	return all
}

// chunks serves a body without saying how long it is.
func chunks(body []byte) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusOK)
		for part := range slices.Chunk(body, 64<<10) {
			if _, err := rw.Write(part); err != nil {
				return
			}
			http.NewResponseController(rw).Flush()
		}
	}
}

// stallOnce sends so many bytes of the body to the first download, says so, and
// then nothing until the client goes away. Later ones get all they ask for.
func stallOnce(body []byte, etag string, at int, stalled chan struct{}) http.HandlerFunc {
	var once sync.Once
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", etag)
		first := false
		if r.Header.Get("Range") != "bytes=0-0" {
			once.Do(func() { first = true })
		}
		if !first {
			http.ServeContent(rw, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(body))
			return
		}
		rw.Header().Set("Last-Modified", time.Unix(1_700_000_000, 0).UTC().Format(http.TimeFormat))
		rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
		rw.Write(body[:at])
		http.NewResponseController(rw).Flush()
		close(stalled)
		<-r.Context().Done()
	}
}
