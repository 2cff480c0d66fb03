package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/spec"
)

// The classes of errors of a server of 0.2, which tells only status and text, and
// of what is not a Shaken Fist at all.
func TestOldErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		class  error
		text   string
	}{
		{400, `{"error": "cannot parse netblock: x", "status": 400}`, spec.ErrInvalid, "cannot parse netblock: x"},
		{400, `{"error": "you cannot delete a namespace with instances", "status": 400}`, spec.ErrInUse, "you cannot delete a namespace with instances"},
		{400, `{"error": "you cannot delete a namespace with networks", "status": 400}`, spec.ErrInUse, "you cannot delete a namespace with networks"},
		{401, `{"error": "unauthorized", "status": 401}`, spec.ErrUnauthorized, "unauthorized"},
		{401, `{"error": "unauthorized", "status": 401, "class": "forbidden"}`, spec.ErrForbidden, "unauthorized"},
		{403, `{"error": "you cannot delete an in use network", "status": 403}`, spec.ErrInUse, "you cannot delete an in use network"},
		{403, `{"error": "cannot delete an in use network", "status": 403}`, spec.ErrInUse, "cannot delete an in use network"},
		{403, `{"error": "illegal key name", "status": 403}`, spec.ErrForbidden, "illegal key name"},
		{404, `{"error": "instance not found", "status": 404}`, spec.ErrNotFound, "instance not found"},
		{404, "<h1>Not Found</h1>\n", spec.ErrNotFound, "<h1>Not Found</h1>"},
		{405, `{"message": "The method is not allowed for the requested URL."}`, spec.ErrInvalid, "The method is not allowed for the requested URL."},
		{409, `{"error": "address 10.0.0.7 in use", "status": 409}`, spec.ErrConflict, "address 10.0.0.7 in use"},
		{413, `{"error": "too long", "status": 413}`, spec.ErrInvalid, "too long"},
		{500, `{"error": "server error", "status": 500}`, nil, "server error"},
		{500, `{"error": "no such image", "status": 500, "class": "failed"}`, spec.ErrFailed, "no such image"},
		{502, "bad gateway", spec.ErrUnavailable, "bad gateway"},
		{503, "", spec.ErrUnavailable, ""},
		{504, "slow", spec.ErrTimeout, "slow"},
		{507, `{"error": "insufficient capacity", "status": 507}`, spec.ErrNoCapacity, "insufficient capacity"},
		{418, `[1]`, nil, "[1]"},
	} {
		err := error(newError(tt.status, []byte(tt.body)))
		if spec.ClassOf(err) != tt.class || err.Error() != tt.text {
			t.Errorf("%d %s: %v of class %v", tt.status, tt.body, err, spec.ClassOf(err))
		}
		for _, c := range spec.Classes {
			if errors.Is(err, c.Err) != (c.Err == tt.class) {
				t.Errorf("%d %s is wrong about %s", tt.status, tt.body, c.Name)
			}
		}
		if e := (*spec.Error)(nil); !errors.As(err, &e) {
			t.Errorf("%d %s is no *spec.Error", tt.status, tt.body)
		}
	}
}

// Where credentials come from.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	home := write("home", `{"namespace": "home", "key": "hk", "apiurl": "https://home:1", "fingerprint": "hf"}`)
	system := write("system", `{"namespace": "sys", "key": "sk", "apiurl": "http://sys:1", "more": 1}`)
	broken := write("broken", `{"namespace": `)
	partial := write("partial", `{"namespace": "p", "key": "k"}`)
	none := filepath.Join(dir, "none")
	env := map[string]string{"SHAKENFIST_NAMESPACE": "env", "SHAKENFIST_KEY": "ek", "SHAKENFIST_API_URL": "http://env:1", "SHAKENFIST_API_FINGERPRINT": "ef"}
	for _, tt := range []struct {
		name  string
		given Config
		env   map[string]string
		files []string
		want  Config
		err   string
	}{
		{name: "given", given: Config{Namespace: "n", Key: "k", URL: "http://u", Fingerprint: "f"}, env: env, files: []string{home}, want: Config{Namespace: "n", Key: "k", URL: "http://u", Fingerprint: "f"}},
		{name: "given and environment", given: Config{Namespace: "n"}, env: env, files: []string{home}, want: Config{Namespace: "n", Key: "ek", URL: "http://env:1", Fingerprint: "ef"}},
		{name: "environment", env: env, files: []string{home}, want: Config{Namespace: "env", Key: "ek", URL: "http://env:1", Fingerprint: "ef"}},
		{name: "first file", files: []string{home, system}, want: Config{Namespace: "home", Key: "hk", URL: "https://home:1", Fingerprint: "hf"}},
		{name: "second file", files: []string{none, system}, want: Config{Namespace: "sys", Key: "sk", URL: "http://sys:1"}},
		{name: "a file overrides a URL and a key", given: Config{Key: "k", URL: "http://u"}, files: []string{home}, want: Config{Namespace: "home", Key: "hk", URL: "https://home:1", Fingerprint: "hf"}},
		{name: "broken file", files: []string{broken, system}, err: "not a JSON object"},
		{name: "partial file", files: []string{partial, system}, err: "needs the members"},
		{name: "nothing", files: []string{none}, err: "no credentials"},
	} {
		got, err := Finder{Getenv: func(k string) string { return tt.env[k] }, Files: tt.files}.Find(tt.given)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || got.Namespace != tt.want.Namespace || got.Key != tt.want.Key || got.URL != tt.want.URL || got.Fingerprint != tt.want.Fingerprint {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// A file that was written is read again, and only its owner can.
func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "client.json")
	want := Config{URL: "http://127.0.0.1:13000", Namespace: "system", Key: "s"}
	if err := WriteFile(name, want); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(name)
	if d := cmp.Diff("{\n    \"apiurl\": \"http://127.0.0.1:13000\",\n    \"namespace\": \"system\",\n    \"key\": \"s\"\n}\n", string(text)); d != "" {
		t.Error(d)
	}
	if got, err := ReadFile(name); err != nil || got.URL != want.URL || got.Namespace != want.Namespace || got.Key != want.Key {
		t.Errorf("%+v, %v", got, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{URL: "localhost:13000", Namespace: "n", Key: "k"}, {URL: "ftp://x", Namespace: "n", Key: "k"},
		{URL: "http://", Namespace: "n", Key: "k"}, {Key: "k"}, {Namespace: "n"},
	} {
		if _, err := New(cfg); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// IDs are escaped, so that none can reach another URL.
func TestPathsAreEscaped(t *testing.T) {
	var asked string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.RequestURI
		io.WriteString(w, `{"access_token": "t"}`)
	}))
	defer h.Close()
	c, err := New(Config{URL: h.URL + "/", Namespace: "n", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	c.Instance(t.Context(), "../auth?x=#y")
	if asked != "/instances/..%2Fauth%3Fx=%23y" {
		t.Errorf("asked for %s", asked)
	}
}

// A wait that runs out of time says what for.
func TestWaitTimesOut(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"access_token": "t", "uuid": "u", "state": "creating", "wait": {"reason": "an image", "since": "2026-01-01T00:00:00Z"}}`)
	}))
	defer h.Close()
	polls := 0
	ctx, cancel := context.WithCancel(t.Context())
	c, err := New(Config{URL: h.URL, Namespace: "n", Key: "k", Sleep: func(context.Context, time.Duration) error {
		if polls++; polls == 3 {
			cancel()
		}
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	i, err := c.WaitInstance(ctx, "u", InstanceCreated)
	if !errors.Is(err, spec.ErrTimeout) || !strings.Contains(err.Error(), "instance u is still creating, waiting for an image") || i.Status.Wait == nil {
		t.Errorf("%v", err)
	}
}

// The records of the seed, with the oddities it has.
func TestSeedRecords(t *testing.T) {
	var r instanceRecord
	err := decode(call{into: &r}, []byte(`{"uuid": "u", "name": "vm1", "cpus": "2", "memory": 2048, "disk_spec": [{"size": "8", "base": "cirros", "bus": null, "type": "disk"}, {"size": ""}],
		"ssh_key": null, "node": "sf-2", "console_port": 31839, "vdi_port": 34442, "user_data": "%%%", "block_devices": null, "state": "created", "state_updated": 1601091240.1,
		"namespace": "demo", "power_state": "on", "video": {"model": "cirrus", "memory": "16384"}}`))
	if err != nil {
		t.Fatal(err)
	}
	i := r.instance()
	if i.CPUs != 2 || i.Disks[0].SizeGB != 8 || i.Disks[1].SizeGB != 0 || i.Video.MemoryKiB != 16384 || i.Status.ConsolePort != 31839 {
		t.Errorf("%+v", i)
	}
	if want := time.Date(2020, 9, 26, 3, 34, 0, 100e6, time.UTC); !i.Status.Since.Equal(want) {
		t.Errorf("since %v", i.Status.Since)
	}
	var list []interfaceRecord
	if err := decode(call{into: &list}, []byte(`[{"uuid": "f", "ipv4": "", "floating": null, "order": 1}]`)); err != nil || list[0].nic().Address.IsValid() {
		t.Errorf("%+v, %v", list, err)
	}
}

// Against a server of 0.2, which does not know idempotency keys, a create whose answer is
// lost is not made again; what changes nothing is.
func TestOldServerIsNotRepeated(t *testing.T) {
	var mu sync.Mutex
	requests := map[string]int{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth" {
			io.WriteString(w, `{"access_token": "t"}`)
			return
		}
		mu.Lock()
		requests[r.Method]++
		mu.Unlock()
		panic(http.ErrAbortHandler)
	}))
	defer h.Close()
	c, err := New(Config{URL: h.URL, Namespace: "n", Key: "k", HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := c.CreateInstance(ctx, "", spec.InstanceSpec{Name: "vm"}); !errors.Is(err, spec.ErrUnavailable) {
		t.Errorf("a create: %v", err)
	}
	if err := c.SetMetadata(ctx, spec.KindInstance, "u", "a", "b"); !errors.Is(err, spec.ErrUnavailable) {
		t.Errorf("metadata: %v", err)
	}
	if _, err := c.Instance(ctx, "u"); !errors.Is(err, spec.ErrUnavailable) {
		t.Errorf("a read: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if d := cmp.Diff(map[string]int{"POST": 1, "PUT": attempts, "GET": attempts}, requests); d != "" {
		t.Error(d)
	}
}
