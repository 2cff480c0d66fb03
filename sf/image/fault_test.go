package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// ranges are the ranges of the downloads that a server saw.
func (w *webServer) ranges() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, r := range w.requests {
		if f := strings.SplitN(r, " ", 3); f[2] != "bytes=0-0" {
			all = append(all, f[2])
		}
	}
	return all
}

func TestResume(t *testing.T) {
	body := rawImage(4 << 20)
	for name, tc := range map[string]struct {
		change func(*webFile)
		offset bool // later requests start where the earlier broke
	}{
		"etag":          {func(*webFile) {}, true},
		"modified only": {func(f *webFile) { f.etag = "" }, true},
		"weak etag":     {func(f *webFile) { f.etag = `W/"1"` }, true},
		"no validator":  {func(f *webFile) { f.etag, f.modified = "", time.Time{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			web, c := newWeb(t), newTestCache(t, testConfig())
			f := web.put("/i", body)
			f.dropAt = []int{1 << 20, 1 << 20, 100}
			tc.change(f)
			mustFetch(t, c, web.URL+"/i", body)
			got := web.ranges()
			if len(got) != 4 || tc.offset != (got[3] != "") || got[0] != "" {
				t.Errorf("ranges %q", got)
			}
		})
	}
}

// Mirrors that take turns, each with ETags and dates of its own, are one origin
// as long as a checksum vouches for the whole.
func TestMirrors(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(2 << 20)
	f := web.put("/i", body)
	f.dropAt = []int{1 << 20}
	n := 0
	web.before = func(*http.Request) bool {
		n++
		f.etag, f.modified = strconv.Quote(strconv.Itoa(n)), f.modified.Add(time.Second)
		return true
	}
	mustFetch(t, c, web.URL+"/i#sha256="+sum256(body), body)
	if r := web.ranges(); len(r) != 2 || r[1] != "bytes=1048576-" {
		t.Errorf("ranges %q", r)
	}
}

// A download that breaks for good leaves a partial file, which the next one uses.
func TestGiveUpAndResume(t *testing.T) {
	web := newWeb(t)
	config := testConfig()
	config.Attempts = 3
	c := newTestCache(t, config)
	body := rawImage(2 << 20)
	f := web.put("/i", body)
	f.dropAt = []int{1 << 20}
	web.before = func(r *http.Request) bool {
		ranged := r.Header.Get("Range")
		return ranged == "" || ranged == "bytes=0-0" // the first download only
	}
	_, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil)
	if err == nil || errors.Is(err, ErrPermanent) {
		t.Fatalf("%v", err)
	}
	if l := leftovers(t, c); len(l) != 2 {
		t.Errorf("partial files: %v", l)
	}
	if all, _ := c.List(); len(all) > 0 {
		t.Errorf("a partial file is visible: %v", all)
	}
	web.set(func() { web.before = nil })
	again, err := NewCache(c.dir, c.config)
	if err != nil {
		t.Fatal(err)
	}
	mustFetch(t, again, web.URL+"/i", body)
	if r := web.ranges(); r[len(r)-1] != "bytes=1048576-" {
		t.Errorf("ranges %q", r)
	}
	if l := leftovers(t, c); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
}

// The origin changes while we download: no mixture of the two is ever seen.
func TestChangedMidway(t *testing.T) {
	one, two := rawImage(3<<20), rawImage(3<<20+512)
	same := bytes.Clone(two)[:3<<20] // other bytes, same size
	for name, next := range map[string][]byte{"size": two, "same size": same} {
		for _, etag := range []bool{true, false} {
			t.Run(name+"/"+strconv.FormatBool(etag), func(t *testing.T) {
				web, c := newWeb(t), newTestCache(t, testConfig())
				f := web.put("/i", one)
				f.dropAt = []int{1 << 20}
				if !etag {
					f.etag = ""
				}
				config := c.config
				config.Sleep = func(context.Context, time.Duration) error {
					n := web.put("/i", next)
					if !etag {
						n.etag = ""
					}
					n.modified = n.modified.Add(time.Hour)
					return nil
				}
				c.config = config
				mustFetch(t, c, web.URL+"/i", next)
				if l := leftovers(t, c); len(l) > 0 {
					t.Errorf("left behind: %v", l)
				}
			})
		}
	}
}

// An origin that changes for ever is given up, to be tried again later.
func TestChangesForEver(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	n := 0
	web.put("/i", nil).serve = func(rw http.ResponseWriter, _ *http.Request) {
		n++
		rw.Header().Set("ETag", strconv.Quote(strconv.Itoa(n)))
		rw.Write(make([]byte, 1024))
	}
	if _, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil); !errors.Is(err, ErrChanged) || errors.Is(err, ErrPermanent) {
		t.Errorf("%v", err)
	}
	if n != 2*lookups {
		t.Errorf("%d requests", n)
	}
}

func openedPartial(t *testing.T, c *Cache, d Description) *partial {
	t.Helper()
	p, err := c.openPartial(t.Context(), d, func(driver.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What lies in the partial file beyond the note is not trusted.
func TestPartialTail(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(1 << 20)
	web.put("/i", body)
	d, err := c.config.Source.Resolve(t.Context(), trusted(web.URL+"/i"))
	if err != nil {
		t.Fatal(err)
	}
	p := openedPartial(t, c, d)
	p.Write(body[:1000])
	if err := p.checkpoint(); err != nil {
		t.Fatal(err)
	}
	p.Write([]byte("garbage that was never synced"))
	p.close()
	mustFetch(t, c, web.URL+"/i", body)
	if r := web.ranges(); len(r) != 1 || r[0] != "bytes=1000-" {
		t.Errorf("ranges %q", r)
	}
	// A note without its bytes counts for nothing.
	p, _ = c.openPartial(t.Context(), d, func(driver.Progress) {})
	p.Write(body[:1000])
	p.checkpoint()
	p.close()
	os.Truncate(p.path, 10)
	if p, err = c.openPartial(t.Context(), d, func(driver.Progress) {}); err != nil || p.size != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	p.discard()
}

// Reading what is there again ends when nobody wants it any more, and loses nothing.
func TestResumeIsCancelled(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(1 << 20)
	web.put("/i", body)
	d, err := c.config.Source.Resolve(t.Context(), trusted(web.URL+"/i"))
	if err != nil {
		t.Fatal(err)
	}
	p := openedPartial(t, c, d)
	p.Write(body[:900<<10])
	if err := p.checkpoint(); err != nil {
		t.Fatal(err)
	}
	p.close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	_, err = c.openPartial(ctx, d, func(driver.Progress) { looks++; cancel() })
	if !errors.Is(err, context.Canceled) || looks != 1 {
		t.Errorf("%v after %d looks", err, looks)
	}
	mustFetch(t, c, web.URL+"/i", body)
	if r := web.ranges(); len(r) != 1 || r[0] != "bytes=921600-" {
		t.Errorf("ranges %q", r)
	}
}

// As long as every try gets further it may break as often as it likes.
func TestManyBreaks(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(1 << 20)
	f := web.put("/i", body)
	for range 3 * c.config.Attempts {
		f.dropAt = append(f.dropAt, 10_000)
	}
	mustFetch(t, c, web.URL+"/i", body)
}

// What an earlier try got of another version is not continued.
func TestPartialOfOldVersion(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	one, two := rawImage(2<<20), bytes.Repeat([]byte("new!"), 1<<19)
	web.put("/i", one).dropAt = []int{1 << 20}
	ctx, cancel := context.WithCancel(t.Context())
	c.config.Sleep = func(context.Context, time.Duration) error { cancel(); return ctx.Err() }
	if _, err := c.Fetch(ctx, trusted(web.URL+"/i"), nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if l := leftovers(t, c); len(l) != 2 {
		t.Errorf("partial files: %v", l)
	}
	web.put("/i", two)
	mustFetch(t, c, web.URL+"/i", two)
}

const childEnv = "SF_IMAGE_TEST_CHILD"

// TestMain makes this binary a process that downloads, or makes a snapshot, and
// can be killed.
func TestMain(m *testing.M) {
	if data := os.Getenv(snapshotChildEnv); data != "" {
		if err := snapshotChild(data); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir, url, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		c, err := NewCache(dir, testConfig())
		if err == nil {
			_, err = c.Fetch(context.Background(), driver.ImageRef{Name: url, Trusted: true}, nil)
		}
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// kill -9 in the middle of a download: what was synced is not fetched again.
func TestKilled(t *testing.T) {
	body := rawImage(2*checkpoint + 8<<20)
	web := newWeb(t)
	f := web.put("/i", body)
	reached := make(chan struct{})
	web.set(func() { f.serve = stallOnce(body, f.etag, 2*checkpoint+1<<20, reached) })
	dir := filepath.Join(t.TempDir(), "image_cache")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir+" "+web.URL+"/i")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	<-reached
	// Wait for the note of the second checkpoint, with an end in case it never comes.
	deadline := time.After(time.Minute)
	synced := int64(0)
	for synced < 2*checkpoint {
		notes, _ := filepath.Glob(dir + "/partial/*.json")
		for _, n := range notes {
			var note partialNote
			if b, err := os.ReadFile(n); err == nil && json.Unmarshal(b, &note) == nil {
				synced = note.Synced
			}
		}
		select {
		case <-deadline:
			t.Fatal("no checkpoint")
		case <-time.After(time.Millisecond):
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	c, err := NewCache(dir, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := c.List(); len(all) > 0 {
		t.Errorf("a partial file is visible: %v", all)
	}
	mustFetch(t, c, web.URL+"/i", body)
	r := web.ranges()
	from, _ := strconv.Atoi(strings.Trim(strings.TrimPrefix(r[len(r)-1], "bytes="), "-"))
	if int64(from) < synced {
		t.Errorf("resumed at %d, %d were safe", from, synced)
	}
	if l := leftovers(t, c); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
}

// fail the n-th request for every n: each failure leaves nothing visible, and
// the next try completes.
func TestEveryRequestFails(t *testing.T) {
	q := qcow2Image(t, qcow2.Options{Size: 1 << 20})
	body := gz(t, q)
	for n := 1; ; n++ {
		web := newWeb(t)
		config := testConfig()
		config.Attempts = 1
		c := newTestCache(t, config)
		web.put("/i", body)
		count := 0
		web.before = func(*http.Request) bool { count++; return count != n }
		_, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil)
		if count < n {
			if err != nil || n != 3 {
				t.Errorf("no failure injected at %d: %v", n, err)
			}
			return
		}
		if err == nil || errors.Is(err, ErrPermanent) {
			t.Errorf("request %d: %v", n, err)
		}
		if all, _ := c.List(); len(all) > 0 {
			t.Errorf("request %d: visible: %v", n, all)
		}
		mustFetch(t, c, web.URL+"/i", q)
	}
}
