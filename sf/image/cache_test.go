package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

func gz(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func xzBytes(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(t testing.TB, b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func bz2(t testing.TB, b []byte) []byte {
	cmd := exec.Command(need.Program(t, "bzip2", "bzip2"), "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFetchFormats(t *testing.T) {
	raw := rawImage(3 << 20)
	q := qcow2Image(t, qcow2.Options{Size: 1 << 30})
	iso := make([]byte, 64<<10)
	copy(iso[isoOffset:], "\x01CD001\x01")
	for name, tc := range map[string]struct {
		body, content []byte
		want          driver.Image
	}{
		"raw":       {raw, raw, driver.Image{Format: "raw", VirtualSize: 3 << 20}},
		"qcow2":     {q, q, driver.Image{Format: "qcow2", VirtualSize: 1 << 30}},
		"iso":       {iso, iso, driver.Image{Format: "raw", VirtualSize: 64 << 10, CDROM: true}},
		"raw.gz":    {gz(t, raw), raw, driver.Image{Format: "raw", VirtualSize: 3 << 20}},
		"qcow2.xz":  {xzBytes(t, q), q, driver.Image{Format: "qcow2", VirtualSize: 1 << 30}},
		"raw.zst":   {zst(t, raw), raw, driver.Image{Format: "raw", VirtualSize: 3 << 20}},
		"qcow2.bz2": {bz2(t, q), q, driver.Image{Format: "qcow2", VirtualSize: 1 << 30}},
		// The name is no evidence.
		"qcow2.gz.raw": {gz(t, q), q, driver.Image{Format: "qcow2", VirtualSize: 1 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			web, c := newWeb(t), newTestCache(t, testConfig())
			web.put("/image", tc.body)
			for range 2 {
				got := mustFetch(t, c, web.URL+"/image", tc.content)
				tc.want.ID, tc.want.Name = sum256(tc.content), web.URL+"/image"
				if got != tc.want {
					t.Errorf("got %+v\nwant %+v", got, tc.want)
				}
			}
			if n := web.gets("/image"); n != 1 {
				t.Errorf("%d downloads, want 1", n)
			}
			if l := leftovers(t, c); len(l) > 0 {
				t.Errorf("left behind: %v", l)
			}
			cached, _ := c.Get(sum256(tc.content))
			if st, _ := os.Stat(cached.Path); st.Mode().Perm() != 0o444 {
				t.Errorf("mode %v", st.Mode())
			}
		})
	}
}

func TestUnpackKeepsHoles(t *testing.T) {
	raw := make([]byte, 32<<20)
	copy(raw, "boot")
	copy(raw[20<<20:], "data")
	web, c := newWeb(t), newTestCache(t, testConfig())
	web.put("/i", gz(t, raw))
	image := mustFetch(t, c, web.URL+"/i", raw)
	cached, _ := c.Get(image.ID)
	if cached.Allocated > 1<<20 {
		t.Errorf("32 MiB with 8 bytes of data occupy %d bytes", cached.Allocated)
	}
}

func TestPadsToSectors(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(1000)
	web.put("/i", body)
	image, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil)
	if err != nil {
		t.Fatal(err)
	}
	cached, _ := c.Get(image.ID)
	if image.VirtualSize != 1024 || image.ID != sum256(body) || cached.VirtualSize != 1024 {
		t.Errorf("%+v", image)
	}
}

func TestChangedOrigin(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	one, two := rawImage(10<<10), rawImage(20<<10)
	web.put("/i", one)
	first := mustFetch(t, c, web.URL+"/i", one)
	web.put("/i", two)
	second := mustFetch(t, c, web.URL+"/i", two)
	if first.ID == second.ID || second.Stale {
		t.Errorf("%+v then %+v", first, second)
	}
	// The old one stays: disks may lie over it.
	if _, err := c.Get(first.ID); err != nil {
		t.Error(err)
	}
	all, err := c.List()
	if err != nil || len(all) != 2 {
		t.Errorf("List: %v, %v", all, err)
	}
}

func TestProvides(t *testing.T) {
	o := origin{Size: 10, ETag: `"a"`, LastModified: "Mon", Sums: map[string]string{"sha256": "11"}}
	for _, tc := range []struct {
		d    Description
		want bool
	}{
		{Description{Size: 10, ETag: `"a"`, LastModified: "Mon"}, true},
		{Description{Size: -1, ETag: `"a"`}, true},
		{Description{Size: 10, LastModified: "Mon"}, true},
		{Description{Size: 10, ETag: `"a"`, LastModified: "Tue"}, true}, // touched, not changed
		{Description{Size: 11, ETag: `"a"`, LastModified: "Mon"}, false},
		{Description{Size: 10, ETag: `"b"`, LastModified: "Mon"}, false},
		{Description{Size: 10, LastModified: "Tue"}, false},
		{Description{Size: 10}, false},
		{Description{Size: 99, ETag: `"z"`, Checksum: Checksum{Algorithm: "sha256", Hex: "11"}}, true},
		{Description{Size: 10, ETag: `"a"`, Checksum: Checksum{Algorithm: "sha256", Hex: "22"}}, false},
		{Description{Size: 10, ETag: `"a"`, Checksum: Checksum{Algorithm: "sha512", Hex: "11"}}, false},
	} {
		if got := o.provides(tc.d); got != tc.want {
			t.Errorf("%+v: %v", tc.d, got)
		}
	}
	if (origin{Size: 10}).provides(Description{Size: 10}) {
		t.Error("nothing vouches for equal sizes")
	}
}

// A server without any validator vouches for nothing: fetch again every time.
func TestNoValidators(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	f := web.put("/i", rawImage(4096))
	f.etag, f.modified = "", time.Time{}
	for range 2 {
		mustFetch(t, c, web.URL+"/i", f.body)
	}
	if n := web.gets("/i"); n != 2 {
		t.Errorf("%d downloads, want 2", n)
	}
	// Unless the caller knows what it should be.
	for range 2 {
		mustFetch(t, c, web.URL+"/i#sha256="+sum256(f.body), f.body)
	}
	if n := web.gets("/i"); n != 2 {
		t.Errorf("%d downloads, want still 2", n)
	}
}

func TestStale(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	f := web.put("/i", rawImage(4096))
	url := web.URL + "/i"
	mustFetch(t, c, url, f.body)
	for status, ok := range map[int]bool{404: true, 410: true, 500: true, 503: true, 401: false, 403: false} {
		web.set(func() { f.status = status })
		image, err := c.Fetch(t.Context(), trusted(url), nil)
		if ok != (err == nil) || image.Stale != ok {
			t.Errorf("status %d: %+v, %v", status, image, err)
		}
	}
	web.Close()
	if image, err := c.Fetch(t.Context(), trusted(url), nil); err != nil || !image.Stale || image.ID != sum256(f.body) {
		t.Errorf("server gone: %+v, %v", image, err)
	}
	if _, err := c.Fetch(t.Context(), driver.ImageRef{Name: url}, nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("a tenant got an administrator's image: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Fetch(ctx, trusted(url), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// brokenSource resolves nothing.
type brokenSource struct{ Source }

func (brokenSource) Resolve(context.Context, driver.ImageRef) (Description, error) {
	return Description{}, errors.New("the network is down")
}

// A tenant gets a stale image only if a tenant could get it when it was fresh.
func TestStaleIsNoWayAround(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	h := c.config.Source.(*HTTP)
	web.put("/i", rawImage(4096))
	name := web.URL + "/i"
	mustFetch(t, c, name, nil)
	c.config.Source = brokenSource{}
	if image, err := c.Fetch(t.Context(), driver.ImageRef{Name: name}, nil); err == nil {
		t.Errorf("a tenant got %+v", image)
	}
	if image, err := c.Fetch(t.Context(), trusted(name), nil); err != nil || !image.Stale {
		t.Errorf("an administrator got %+v, %v", image, err)
	}
	// Once a tenant got it by itself, it may.
	h.guarded = h.open
	c.config.Source = h
	if _, err := c.Fetch(t.Context(), driver.ImageRef{Name: name}, nil); err != nil {
		t.Fatal(err)
	}
	c.config.Source = brokenSource{}
	if image, err := c.Fetch(t.Context(), driver.ImageRef{Name: name}, nil); err != nil || !image.Stale {
		t.Errorf("%+v, %v", image, err)
	}
}

func TestRefusesContent(t *testing.T) {
	backing := qcow2Image(t, qcow2.Options{Size: 1 << 20, BackingFile: "/etc/shadow", BackingFormat: "raw"})
	plain := qcow2Image(t, qcow2.Options{Size: 1 << 20})
	big := qcow2Image(t, qcow2.Options{Size: 8 << 40})
	encrypted := bytes.Clone(plain)
	encrypted[35] = 2
	vmdk := make([]byte, 4096)
	copy(vmdk, "KDMV")
	child := bytes.Clone(vmdk)
	child[12] = 1
	copy(child[512:], `parentFileNameHint="/etc/shadow"`)
	tar := make([]byte, 1024)
	copy(tar[257:], "ustar")
	for name, tc := range map[string]struct {
		body []byte
		want error
		text string
	}{
		"backing file":    {backing, ErrUnsafe, "/etc/shadow"},
		"packed backing":  {gz(t, backing), ErrUnsafe, "/etc/shadow"},
		"encrypted":       {encrypted, ErrUnsafe, "encrypted"},
		"cut qcow2":       {plain[:len(plain)-70000], ErrFormat, "cut off"},
		"huge disk":       {big, ErrTooLarge, "8.0 TiB"},
		"vmdk descriptor": {[]byte("# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n"), ErrFormat, "several files"},
		"vmdk hidden":     {vmdk, ErrUnsafe, "describes other files"},
		"vmdk child":      {child, ErrUnsafe, "continues another file"},
		"web page":        {[]byte("\n<!DOCTYPE html><html>log in first"), ErrFormat, "web page"},
		"empty":           {nil, ErrFormat, "empty"},
		"tiny":            {[]byte("hello"), ErrFormat, "5 bytes"},
		"twice":           {gz(t, gz(t, plain)), ErrFormat, "twice"},
		"zip":             {[]byte("PK\x03\x04" + strings.Repeat("x", 600)), ErrFormat, "archive"},
		"tar":             {gz(t, tar), ErrFormat, "archive"},
		"cut gzip":        {gz(t, plain)[:100], ErrFormat, "gzip"},
		"cut xz":          {xzBytes(t, plain)[:100], ErrFormat, "xz"},
		"cut zstd":        {zst(t, plain)[:60], ErrFormat, "zstd"},
		"bad bzip2":       {[]byte("BZh9" + strings.Repeat("x", 600)), ErrFormat, "bzip2"},
	} {
		t.Run(name, func(t *testing.T) {
			web, c := newWeb(t), newTestCache(t, testConfig())
			web.put("/i", tc.body)
			_, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), nil)
			if !errors.Is(err, tc.want) || !errors.Is(err, ErrPermanent) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), web.URL) {
				t.Errorf("%q does not mention %q and the URL", err, tc.text)
			}
			if l := leftovers(t, c); len(l) > 0 {
				t.Errorf("left behind: %v", l)
			}
			if all, _ := c.List(); len(all) > 0 {
				t.Errorf("cached: %v", all)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	web := newWeb(t)
	random := rawImage(2 << 20)
	web.put("/raw", random)
	web.put("/zeros.gz", gz(t, make([]byte, 8<<20)))
	web.put("/ones.gz", gz(t, bytes.Repeat([]byte{1}, 72<<20)))
	chunked := web.put("/chunked", nil)
	chunked.serve = chunks(random)
	for _, tc := range []struct {
		path   string
		change func(*CacheConfig)
		want   error
		text   string
	}{
		{"/raw", func(c *CacheConfig) { c.MaxImage = 1 << 20 }, ErrTooLarge, "2.0 MiB"},
		{"/chunked", func(c *CacheConfig) { c.MaxImage = 1 << 20 }, ErrTooLarge, "1.0 MiB"},
		{"/zeros.gz", func(c *CacheConfig) { c.MaxImage = 1 << 20 }, ErrTooLarge, "decompressed"},
		{"/ones.gz", func(c *CacheConfig) { c.MaxRatio = 10 }, ErrTooLarge, "out of proportion"},
		{"/raw", func(c *CacheConfig) { c.MaxVirtual = 1 << 20 }, ErrTooLarge, "limit"},
		{"/raw", func(c *CacheConfig) { c.Reserve = 1 << 60 }, driver.ErrNoSpace, "free"},
	} {
		c := testConfig()
		tc.change(&c)
		cache := newTestCache(t, c)
		_, err := cache.Fetch(t.Context(), trusted(web.URL+tc.path), nil)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", tc.path, err)
		}
		if errors.Is(err, driver.ErrNoSpace) == errors.Is(err, ErrPermanent) {
			t.Errorf("%s: wrong class: %v", tc.path, err)
		}
	}
}

func TestSingleFlight(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(5 << 20)
	f := web.put("/i", body)
	f.dropAt = []int{1 << 20, 2 << 20}
	var wg sync.WaitGroup
	var mu sync.Mutex
	stages := make(map[int][]string)
	for n := range 20 {
		wg.Go(func() {
			image, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), func(p driver.Progress) {
				mu.Lock()
				stages[n] = append(stages[n], p.Stage)
				mu.Unlock()
			})
			if err != nil || image.ID != sum256(body) {
				t.Errorf("%+v, %v", image, err)
			}
		})
	}
	wg.Wait()
	if n := web.gets("/i"); n != 3 {
		t.Errorf("%d downloads, want 3: one, broken twice", n)
	}
	for n := range 20 {
		if !slices.Contains(stages[n], "resolving") {
			t.Errorf("caller %d saw %v", n, stages[n])
		}
	}
}

// When the caller that downloads is cancelled, one of those who wait goes on
// from where it stopped.
func TestLeaderCancelled(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	body := rawImage(4 << 20)
	f := web.put("/i", body)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stalled := make(chan struct{})
	web.set(func() { f.serve = stallOnce(body, f.etag, 2<<20, stalled) })
	leader := make(chan error, 1)
	go func() {
		_, err := c.Fetch(ctx, trusted(web.URL+"/i"), nil)
		leader <- err
	}()
	<-stalled
	follower := make(chan error, 1)
	joined := make(chan struct{})
	go func() {
		_, err := c.Fetch(t.Context(), trusted(web.URL+"/i"), func(p driver.Progress) {
			if p.Stage == "resolving" {
				close(joined)
			}
		})
		follower <- err
	}()
	<-joined
	cancel()
	if err := <-leader; !errors.Is(err, context.Canceled) {
		t.Errorf("the leader: %v", err)
	}
	if err := <-follower; err != nil {
		t.Errorf("the follower: %v", err)
	}
	mustFetch(t, c, web.URL+"/i", body)
}

func TestEvict(t *testing.T) {
	web := newWeb(t)
	config := testConfig()
	now := time.Now()
	config.Now = func() time.Time { return now }
	config.MaxBytes = 1
	c := newTestCache(t, config)
	var ids []string
	for _, n := range []string{"a", "b", "c"} {
		body := rawImage(8192 + int(n[0])*512)
		web.put("/"+n, body)
		ids = append(ids, mustFetch(t, c, web.URL+"/"+n, body).ID)
		now = now.Add(time.Minute)
	}
	if removed, err := c.Evict(t.Context(), nil); err != nil || len(removed) != 0 {
		t.Errorf("young images: %v, %v", removed, err)
	}
	now = now.Add(time.Hour)
	removed, err := c.Evict(t.Context(), func(id string) bool { return id == ids[1] })
	if err != nil || len(removed) != 2 || removed[0].ID != ids[0] || removed[1].ID != ids[2] {
		t.Errorf("removed %v, %v", removed, err)
	}
	if all, _ := c.List(); len(all) != 1 || all[0].ID != ids[1] {
		t.Errorf("left: %v", all)
	}
	// What is gone is fetched again.
	mustFetch(t, c, web.URL+"/a", nil)
	// Old partial files, and records that lead nowhere, go.
	old := filepath.Join(c.dir, partialDir, "old")
	os.WriteFile(old, nil, 0o600)
	now = now.Add(100 * time.Hour)
	if _, err := c.Evict(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{imagesDir, partialDir} {
		if entries, _ := os.ReadDir(filepath.Join(c.dir, sub)); len(entries) > 0 {
			t.Errorf("%s: %v", sub, entries)
		}
	}
	c.Evict(t.Context(), nil)
	for _, sub := range []string{urlsDir, namesDir} {
		if entries, _ := os.ReadDir(filepath.Join(c.dir, sub)); len(entries) > 0 {
			t.Errorf("%s: %v", sub, entries)
		}
	}
}

// An image that its origin replaced goes when nobody has used it for a while,
// however much space there is.
func TestEvictReplaced(t *testing.T) {
	web := newWeb(t)
	config := testConfig()
	now := time.Now()
	config.Now = func() time.Time { return now }
	c := newTestCache(t, config)
	one, two := rawImage(4096), rawImage(8192)
	web.put("/i", one)
	mustFetch(t, c, web.URL+"/i", one)
	web.put("/i", two)
	mustFetch(t, c, web.URL+"/i", two)
	now = now.Add(time.Hour)
	if removed, err := c.Evict(t.Context(), nil); err != nil || len(removed) != 0 {
		t.Errorf("after an hour: %v, %v", removed, err)
	}
	now = now.Add(100 * time.Hour)
	if removed, err := c.Evict(t.Context(), func(id string) bool { return id == sum256(one) }); err != nil || len(removed) != 0 {
		t.Errorf("in use: %v, %v", removed, err)
	}
	if removed, err := c.Evict(t.Context(), nil); err != nil || len(removed) != 1 || removed[0].ID != sum256(one) {
		t.Errorf("unused: %v, %v", removed, err)
	}
}

func TestRecheck(t *testing.T) {
	web := newWeb(t)
	config := testConfig()
	now := time.Now()
	config.Now, config.Recheck = func() time.Time { return now }, time.Minute
	c := newTestCache(t, config)
	one, two := rawImage(4096), rawImage(8192)
	web.put("/i", one)
	mustFetch(t, c, web.URL+"/i", one)
	web.put("/i", two)
	seen := len(web.requests)
	mustFetch(t, c, web.URL+"/i", one)
	if len(web.requests) != seen {
		t.Error("the origin was asked again at once")
	}
	if _, err := c.Fetch(t.Context(), driver.ImageRef{Name: web.URL + "/i"}, nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("a tenant profits from an administrator's answer: %v", err)
	}
	now = now.Add(time.Minute)
	mustFetch(t, c, web.URL+"/i", two)
	c.Remove(sum256(two))
	mustFetch(t, c, web.URL+"/i", two)
}

// Opening a cache clears what a crash left in tmp, and keeps partial files.
func TestReopen(t *testing.T) {
	c := newTestCache(t, testConfig())
	for _, sub := range []string{tmpDir, partialDir} {
		if err := os.WriteFile(filepath.Join(c.dir, sub, "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewCache(c.dir, c.config); err != nil {
		t.Fatal(err)
	}
	if l := leftovers(t, c); !slices.Equal(l, []string{"partial/x"}) {
		t.Errorf("left: %v", l)
	}
	if _, err := NewCache(c.dir, CacheConfig{}); err == nil {
		t.Error("a cache without a source")
	}
	if _, err := NewLocal(t.TempDir(), LocalConfig{}); err == nil {
		t.Error("volumes without a cache")
	}
	if _, err := NewLocal(t.TempDir(), LocalConfig{Cache: c, ClusterSize: 3}); err == nil {
		t.Error("clusters of 3 bytes")
	}
}

func TestThrottle(t *testing.T) {
	config := testConfig()
	now := time.Unix(0, 0)
	config.Now = func() time.Time { return now }
	var got []driver.Progress
	report := newTestCache(t, config).throttle(func(p driver.Progress) { got = append(got, p) })
	report(driver.Progress{Stage: "resolving"})
	for n := range int64(1001) {
		report(driver.Progress{Stage: "downloading", Done: n, Total: 1000})
		now = now.Add(time.Millisecond)
	}
	report(driver.Progress{Stage: "downloading", Done: 1000, Total: 1000})
	var done []int64
	for _, p := range got {
		done = append(done, p.Done)
	}
	if want := []int64{0, 0, 250, 500, 750, 1000}; !slices.Equal(done, want) {
		t.Errorf("%v, want %v", done, want)
	}
}

func TestRemove(t *testing.T) {
	web, c := newWeb(t), newTestCache(t, testConfig())
	web.put("/i", rawImage(4096))
	image := mustFetch(t, c, web.URL+"/i", nil)
	for range 2 {
		if err := c.Remove(image.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Get(image.ID); !errors.Is(err, ErrNotCached) {
		t.Error(err)
	}
	if _, err := c.Get("../../etc/passwd"); !errors.Is(err, ErrNotCached) {
		t.Error(err)
	}
}
