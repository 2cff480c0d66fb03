package image

import (
	"crypto/md5"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testdata(t testing.TB, name string) string {
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func date(s string) time.Time {
	d, err := time.Parse("2006-01-02", s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestPick(t *testing.T) {
	cirros, ubuntu := testdata(t, "cirros.html"), testdata(t, "ubuntu.html")
	for _, tc := range []struct {
		pick          func(string, string, time.Time) ([]release, error)
		listing, want string
		now           string
		got           []string // number/name
		err           string
	}{
		// By number, not by text and not by place in the listing.
		{pickCirros, cirros, "", "2026-01-01", []string{"0.10.0/", "0.9.1/", "0.5.2/"}, ""},
		{pickCirros, "", "0.5.1", "2026-01-01", []string{"0.5.1/"}, ""},
		{pickCirros, "", "0.5", "2026-01-01", nil, "three numbers"},
		{pickCirros, "", "0.5.1/../..", "2026-01-01", nil, "three numbers"},
		{pickCirros, "<html>", "", "2026-01-01", nil, "no version"},
		{pickUbuntu, ubuntu, "", "2026-01-01", []string{"24.04/noble", "22.04/jammy", "18.04/bionic"}, ""},
		// In the month of its release it may not be out yet.
		{pickUbuntu, ubuntu, "", "2024-04-30", []string{"22.04/jammy", "18.04/bionic"}, ""},
		{pickUbuntu, ubuntu, "", "2024-05-01", []string{"24.04/noble", "22.04/jammy", "18.04/bionic"}, ""},
		{pickUbuntu, ubuntu, "", "2010-01-01", nil, "there are 18.04 (bionic)"},
		{pickUbuntu, ubuntu, "23.10", "2024-05-01", []string{"23.10/mantic"}, ""},
		{pickUbuntu, ubuntu, "mantic", "2024-05-01", []string{"23.10/mantic"}, ""},
		{pickUbuntu, ubuntu, "noble", "2010-01-01", []string{"24.04/noble"}, ""},
		{pickUbuntu, ubuntu, "23.1", "2024-05-01", nil, "23.10 (mantic)"},
		{pickUbuntu, ubuntu, "../noble", "2024-05-01", nil, "no release"},
		{pickUbuntu, "moved", "noble", "2024-05-01", nil, "cannot be read"},
		{pickDebian, "", "", "2026-01-01", []string{"13/trixie"}, ""},
		{pickDebian, "", "12", "2026-01-01", []string{"12/bookworm"}, ""},
		{pickDebian, "", "bullseye", "2026-01-01", []string{"11/bullseye"}, ""},
		{pickDebian, "", "slink", "2026-01-01", nil, "13 (trixie)"},
	} {
		releases, err := tc.pick(tc.listing, tc.want, date(tc.now))
		var got []string
		for _, r := range releases {
			got = append(got, r.number+"/"+r.name)
		}
		if d := cmp.Diff(tc.got, got); d != "" || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q at %s: %v, %v", tc.want, tc.now, got, err)
		}
	}
}

func FuzzPick(f *testing.F) {
	f.Add(testdata(f, "cirros.html"), "")
	f.Add(testdata(f, "ubuntu.html"), "noble")
	f.Fuzz(func(t *testing.T, listing, want string) {
		for _, pick := range []func(string, string, time.Time) ([]release, error){pickCirros, pickUbuntu, pickDebian} {
			releases, err := pick(listing, want, date("2026-01-01"))
			if (err == nil) != (len(releases) > 0) {
				t.Errorf("%v, %v", releases, err)
			}
			for _, r := range releases {
				if strings.ContainsAny(r.number+r.name, "/:?#%@") {
					t.Errorf("%+v would change the URL", r)
				}
			}
		}
	})
}

func TestParseSums(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for list, want := range map[string]string{
		a + "  x.img\n":                             a,
		a + " *x.img\r\n":                           a,
		b + "  y.img\n" + a + "  ./x.img":           a,
		"SHA256 (x.img) = " + a + "\n":              a,
		strings.ToUpper(a) + "  x.img\n":            a,
		b + "  x.img.sig\n" + b + "  old/x.img\n":   "",
		"zz  x.img\n":                               "",
		"":                                          "",
		"-----BEGIN PGP-----\n\n" + a + "  x.img\n": a,
	} {
		if got := parseSums(list, "sha256", "x.img", ""); got.Hex != want {
			t.Errorf("%q: %q, want %q", list, got.Hex, want)
		}
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add("SHA256 (x) = aa\n", "x")
	f.Fuzz(func(t *testing.T, list, file string) {
		if c := parseSums(list, "sha256", file, ""); c.Hex != "" && len(c.Hex) != 64 {
			t.Errorf("%+v", c)
		}
	})
}

// mirror is a web server with the sites of all distributions, and a source that
// looks there.
func mirror(t *testing.T) (*webServer, *HTTP) {
	web := newWeb(t)
	for _, n := range []string{"cirros", "ubuntu"} {
		web.put("/"+n+"/", []byte(testdata(t, n+".html")))
	}
	return web, NewHTTP(HTTPConfig{
		Cirros: web.URL + "/cirros/%(vernum)s/cirros-%(vernum)s-x86_64-disk.img",
		Ubuntu: web.URL + "/ubuntu/%(vername)s/current/%(vername)s-server-cloudimg-amd64.img",
		Debian: web.URL + "/debian/%(vername)s/latest/debian-%(vernum)s-genericcloud-amd64.qcow2",
		Now:    func() time.Time { return date("2026-01-01") },
	})
}

func TestShorthands(t *testing.T) {
	web, source := mirror(t)
	body := rawImage(8192)
	// 0.10.0 has a directory but no image yet.
	web.put("/cirros/0.9.1/cirros-0.9.1-x86_64-disk.img", body)
	web.put("/cirros/0.9.1/MD5SUMS", fmt.Appendf(nil, "%x  cirros-0.9.1-x86_64-disk.img\n", md5.Sum(body)))
	web.put("/cirros/0.5.2/cirros-0.5.2-x86_64-disk.img", body)
	web.put("/ubuntu/noble/current/noble-server-cloudimg-amd64.img", body)
	web.put("/ubuntu/noble/current/SHA256SUMS", []byte(sum256(body)+" *noble-server-cloudimg-amd64.img\n"))
	web.put("/debian/bookworm/latest/debian-12-genericcloud-amd64.qcow2", body)
	web.put("/debian/bookworm/latest/SHA512SUMS", fmt.Appendf(nil, "%x  debian-12-genericcloud-amd64.qcow2\n", sha512.Sum512(body)))
	config := testConfig()
	config.Source = source
	c := newTestCache(t, config)
	for ref, want := range map[string]struct{ url, algorithm string }{
		"cirros":                                 {"/cirros/0.9.1/cirros-0.9.1-x86_64-disk.img", "md5"},
		"cirros:0.5.2":                           {"/cirros/0.5.2/cirros-0.5.2-x86_64-disk.img", ""},
		"ubuntu":                                 {"/ubuntu/noble/current/noble-server-cloudimg-amd64.img", "sha256"},
		"ubuntu:24.04":                           {"/ubuntu/noble/current/noble-server-cloudimg-amd64.img", "sha256"},
		"debian:12":                              {"/debian/bookworm/latest/debian-12-genericcloud-amd64.qcow2", "sha512"},
		"debian:bookworm#sha256=" + sum256(body): {"/debian/bookworm/latest/debian-12-genericcloud-amd64.qcow2", "sha256"},
	} {
		d, err := source.Resolve(t.Context(), trusted(ref))
		if err != nil || d.URL != web.URL+want.url || d.Checksum.Algorithm != want.algorithm || d.Size != 8192 {
			t.Errorf("%s: %+v, %v", ref, d, err)
		}
		if image := mustFetch(t, c, ref, body); image.Name != web.URL+want.url {
			t.Errorf("%s: %+v", ref, image)
		}
	}
	for ref, text := range map[string]string{
		"cirros:9.9.9": "404", "ubuntu:jammy": "404", "ubuntu:warty": "noble", "debian": "404",
	} {
		if _, err := source.Resolve(t.Context(), trusted(ref)); !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	// With the site gone the shorthand still finds what it stood for.
	web.Close()
	if image, err := c.Fetch(t.Context(), trusted("ubuntu"), nil); err != nil || !image.Stale || image.ID != sum256(body) {
		t.Errorf("%+v, %v", image, err)
	}
}

// The list of checksums cannot be read: that is no reason to do without.
func TestSumsUnavailable(t *testing.T) {
	web, source := mirror(t)
	web.put("/debian/bookworm/latest/debian-12-genericcloud-amd64.qcow2", rawImage(8192))
	web.put("/debian/bookworm/latest/SHA512SUMS", nil).status = http.StatusBadGateway
	if d, err := source.Resolve(t.Context(), trusted("debian:12")); err == nil || errors.Is(err, ErrPermanent) {
		t.Errorf("%+v, %v", d, err)
	}
	web.put("/debian/bookworm/latest/SHA512SUMS", make([]byte, maxText+1))
	if d, err := source.Resolve(t.Context(), trusted("debian:12")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%+v, %v", d, err)
	}
}

// A published checksum that does not fit is tried once more, since the list and
// the image may be of different days, and then final.
func TestChecksum(t *testing.T) {
	web, source := mirror(t)
	config := testConfig()
	config.Source = source
	c := newTestCache(t, config)
	body := rawImage(8192)
	const path = "/debian/bookworm/latest/debian-12-genericcloud-amd64.qcow2"
	web.put(path, body)
	web.put("/debian/bookworm/latest/SHA512SUMS", []byte(strings.Repeat("a", 128)+"  debian-12-genericcloud-amd64.qcow2\n"))
	_, err := c.Fetch(t.Context(), trusted("debian:12"), nil)
	if !errors.Is(err, ErrChecksum) || !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), "SHA512SUMS") {
		t.Errorf("%v", err)
	}
	if n := web.gets(path); n != 2 {
		t.Errorf("%d downloads, want 2", n)
	}
	if l := leftovers(t, c); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
	// Corrected while we download.
	list := web.put("/debian/bookworm/latest/SHA512SUMS", []byte(strings.Repeat("a", 128)+"  debian-12-genericcloud-amd64.qcow2\n"))
	web.set(func() {
		web.files[path].serve = func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "bytes=0-0" {
				web.set(func() { list.body = fmt.Appendf(nil, "%x  debian-12-genericcloud-amd64.qcow2\n", sha512.Sum512(body)) })
			}
			rw.Write(body)
		}
	})
	mustFetch(t, c, "debian:12", body)
	// A wrong pin, of an image that is cached.
	if _, err := c.Fetch(t.Context(), trusted(web.URL+path+"#sha256="+strings.Repeat("b", 64)), nil); !errors.Is(err, ErrChecksum) {
		t.Errorf("%v", err)
	}
	mustFetch(t, c, web.URL+path+"#sha256="+sum256(body), body)
}
