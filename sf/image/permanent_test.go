package image

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// An agent knows only driver.ErrPermanent: with it an instance fails at once,
// without it the agent tries again.
func TestPermanentForDrivers(t *testing.T) {
	config := testConfig()
	config.Attempts = 2
	l, web, _, _ := newLocal(t, config)
	body := rawImage(64 << 10)
	web.put("/good", body)
	web.put("/unsafe", qcow2Image(t, qcow2.Options{Size: 1 << 20, BackingFile: "/etc/shadow", BackingFormat: "raw"}))
	web.put("/unsupported", append([]byte("LUKS\xba\xbe"), body...))
	for path, status := range map[string]int{"/gone": http.StatusGone, "/denied": http.StatusForbidden, "/busy": http.StatusTooManyRequests, "/down": http.StatusBadGateway} {
		web.put(path, nil).status = status
	}
	web.put("/cut", body).serve = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	stopped := newWeb(t)
	stopped.Close()
	for _, tc := range []struct {
		name      string
		permanent bool
	}{
		{web.URL + "/good#sha256=" + strings.Repeat("b", 64), true},
		{web.URL + "/missing", true},
		{web.URL + "/gone", true},
		{web.URL + "/denied", true},
		{web.URL + "/unsafe", true},
		{web.URL + "/unsupported", true},
		{"nosuchsystem:1", true},
		{"ftp://example.com/image", true},
		{"snapshot:" + snap1, true},
		{web.URL + "/busy", false},
		{web.URL + "/down", false},
		{web.URL + "/cut", false},
		{stopped.URL + "/good", false},
	} {
		_, err := l.Fetch(t.Context(), trusted(tc.name), nil)
		if err == nil || errors.Is(err, driver.ErrPermanent) != tc.permanent {
			t.Errorf("%s: permanent is %v: %v", tc.name, !tc.permanent, err)
		}
	}
	config.Source = brokenSource{}
	c, err := NewCache(filepath.Join(t.TempDir(), "image_cache"), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(t.Context(), trusted("debian:12"), nil); err == nil || errors.Is(err, driver.ErrPermanent) {
		t.Errorf("no network: %v", err)
	}
	// What a tenant may not reach will not be allowed by trying again.
	if _, err := l.Fetch(t.Context(), driver.ImageRef{Name: web.URL + "/good"}, nil); !errors.Is(err, driver.ErrPermanent) {
		t.Errorf("forbidden: %v", err)
	}
}
