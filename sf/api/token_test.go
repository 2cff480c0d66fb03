package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/shakenfist/cloud/sf/spec"
)

func TestTokenClaims(t *testing.T) {
	c := newConversation(t)
	w := c.ask("-", "POST", "/auth", nil, `{"namespace": "demo", "key": "secret-of-demo"}`)
	var answer map[string]string
	json.Unmarshal(w.Body.Bytes(), &answer)
	parts := strings.Split(answer["access_token"], ".")
	if len(parts) != 3 {
		t.Fatalf("not a token: %v", answer)
	}
	var got []string
	for _, p := range parts[:2] {
		text, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	want := `{"alg":"HS256","typ":"JWT"} {"iat":1601091300,"nbf":1601091300,"jti":"r-2","exp":1601092200,"identity":"demo","fresh":false,"type":"access","key":"test","nonce":"00000000-0000-4000-8000-000000000002"}`
	if s := strings.Join(got, " "); s != want {
		t.Errorf("the token says\n%s, want\n%s", s, want)
	}
}

func TestTokenRefusals(t *testing.T) {
	c := newConversation(t)
	now := c.server.Now()
	clock := now
	c.server.tokens.now = func() time.Time { return clock }
	c.server.tokens.parser = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(func() time.Time { return clock }), jwt.WithExpirationRequired())
	good := claims{IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Unix() + 900, Identity: "demo", Type: "access", Key: "test"}
	ns, _ := c.server.cloud.Namespace(t.Context(), "demo")
	good.Nonce = ns.Keys[0].Nonce

	for _, tt := range []struct {
		name   string
		change func(*claims)
		method jwt.SigningMethod
		secret any
		later  time.Duration
		want   string // empty is accepted
	}{
		{name: "good"},
		{name: "just before it expires", later: 899 * time.Second},
		{name: "expired", later: 900 * time.Second, want: "Signature has expired"},
		{name: "not yet", change: func(c *claims) { c.NotBefore++ }, want: "The token is not yet valid (nbf)"},
		{name: "refresh", change: func(c *claims) { c.Type = "refresh" }, want: "Only access tokens are allowed"},
		{name: "without end", change: func(c *claims) { c.Expires = 0 }, want: "invalid JWT in Authorization header"},
		{name: "other secret", secret: []byte("guess"), want: "invalid JWT in Authorization header"},
		{name: "other method", method: jwt.SigningMethodHS512, want: "invalid JWT in Authorization header"},
		{name: "unsigned", method: jwt.SigningMethodNone, secret: jwt.UnsafeAllowNoneSignatureType, want: "invalid JWT in Authorization header"},
		{name: "a key that is gone", change: func(c *claims) { c.Key = "old" }, want: "Token has been revoked"},
		{name: "a key that was changed", change: func(c *claims) { c.Nonce = "old" }, want: "Token has been revoked"},
		{name: "a namespace that is gone", change: func(c *claims) { c.Identity = "gone" }, want: "Token has been revoked"},
		{name: "no key at all", change: func(c *claims) { c.Key, c.Nonce = "", "" }, want: "Token has been revoked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made := good
			made.JTI = tt.name
			if tt.change != nil {
				tt.change(&made)
			}
			var method jwt.SigningMethod = jwt.SigningMethodHS256
			if tt.method != nil {
				method = tt.method
			}
			var secret any = c.server.Secret
			if tt.secret != nil {
				secret = tt.secret
			}
			token, err := jwt.NewWithClaims(method, &made).SignedString(secret)
			if err != nil {
				t.Fatal(err)
			}
			c.tokens["demo"] = token
			for _, round := range []string{"first", "remembered"} {
				clock = now
				if round == "remembered" && tt.later > 0 {
					c.ask("demo", "GET", "/networks", nil, "") // while it is good
				}
				clock = now.Add(tt.later)
				w := c.ask("demo", "GET", "/networks", nil, "")
				if tt.want == "" && w.Code != 200 || tt.want != "" && (w.Code != 401 || !strings.Contains(w.Body.String(), `"`+tt.want+`"`)) {
					t.Errorf("%s: %d %s, want %q", round, w.Code, w.Body, tt.want)
				}
			}
		})
	}
}

// A token dies with its key and with its namespace, also when it is remembered.
func TestRevocation(t *testing.T) {
	c := newConversation(t)
	see := func(want int) {
		t.Helper()
		if w := c.ask("demo", "GET", "/instances", nil, ""); w.Code != want {
			t.Errorf("%d %s, want %d", w.Code, w.Body, want)
		}
	}
	see(200)
	c.ask("system", "PUT", "/auth/namespaces/demo/keys/test", nil, `{"key": "changed"}`)
	see(401)
	delete(c.tokens, "demo")
	see(200)
	c.ask("system", "DELETE", "/auth/namespaces/demo/keys/test", nil, "")
	see(401)
}

// After failures answers come late, for that address on that namespace only; the
// right secret ends it.
func TestGuessingIsSlow(t *testing.T) {
	c := newConversation(t)
	var slept []time.Duration
	c.server.Sleep = func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil }
	try := func(namespace, key string, want int, delay time.Duration) {
		t.Helper()
		slept = nil
		w := c.ask("-", "POST", "/auth", nil, fmt.Sprintf(`{"namespace": %q, "key": %q}`, namespace, key))
		var d time.Duration
		for _, s := range slept {
			d += s
		}
		if w.Code != want || d != delay {
			t.Errorf("%s/%s: %d after %v, want %d after %v", namespace, key, w.Code, d, want, delay)
		}
	}
	for _, d := range []int{0, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		try("demo", "guess", 401, time.Duration(d)*time.Millisecond)
	}
	try("other", "secret-of-other", 200, 0)
	try("demo", "secret-of-demo", 200, 5*time.Second)
	try("demo", "secret-of-demo", 200, 0)
	try("demo", "guess", 401, 0)
	later := c.server.Now().Add(throttleForget + time.Second)
	c.server.throttle.now = func() time.Time { return later }
	try("demo", "guess", 401, 0)
}

// TestGuessesTakeNoRoom guesses with names as long as a request can be: what is
// kept of each guess has one size.
func TestGuessesTakeNoRoom(t *testing.T) {
	c := newConversation(t)
	c.server.Sleep = func(context.Context, time.Duration) error { return nil }
	for k := range 3 {
		name := strings.Repeat("n", 60<<10) + fmt.Sprint(k)
		if w := c.ask("-", "POST", "/auth", nil, fmt.Sprintf(`{"namespace": %q, "key": "guess"}`, name)); w.Code != 401 {
			t.Errorf("%d", w.Code)
		}
	}
	kept := 0
	for _, half := range []map[string]failure{c.server.throttle.failures.young, c.server.throttle.failures.old} {
		for who := range half {
			kept++
			if len(who) > 64 {
				t.Errorf("%d bytes are kept of a guess", len(who))
			}
		}
	}
	if kept != 3 {
		t.Errorf("%d guesses are remembered, want 3", kept)
	}
}

// Nothing that is secret is in the log.
func TestLogHasNoSecrets(t *testing.T) {
	c := newConversation(t)
	var log bytes.Buffer
	c.server.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := c.ask("-", "POST", "/auth", nil, `{"namespace": "demo", "key": "secret-of-demo"}`)
	token := strings.Split(w.Body.String(), `"`)[3]
	c.ask("-", "POST", "/auth", nil, `{"namespace": "demo", "key": "wrong-secret"}`)
	c.ask("system", "POST", "/auth/namespaces", nil, `{"namespace": "new", "key_name": "k", "key": "new-secret"}`)
	c.ask("demo", "POST", "/instances", nil, `{"name": "vm", "cpus": 1, "memory": 64, "disk": [{"size": 1}], "user_data": "c2VjcmV0LWRhdGE="}`)
	c.server.cloud.(*fakeCloud).faults["Nodes"] = fmt.Errorf("disk on fire")
	c.ask("system", "GET", "/nodes", nil, "")
	for _, secret := range []string{"secret", token, c.token("system"), "c2VjcmV0"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, &log)
		}
	}
	for _, want := range []string{"method=POST path=/instances status=200", "namespace=demo", "status=401", "request=r-", `err="disk on fire"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, &log)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	c := newConversation(t)
	c.server.MaxBody = 100
	w := c.ask("demo", "POST", "/instances", nil, `{"name": "`+strings.Repeat("x", 100)+`"}`)
	if want := `{"error":"the request body is longer than 100 bytes","status":413,"class":"invalid"}` + "\n"; w.Code != 413 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What is encoded is remembered until the record changes.
func TestEncodedInstances(t *testing.T) {
	c := withObjects(t)
	f := c.server.cloud.(*fakeCloud)
	url := concrete(c, "/instances/{instance_uuid}")
	first := c.ask("demo", "GET", url, nil, "").Body.String()
	for _, i := range f.instances {
		i.Name = "renamed" // without a new version nobody can see it
		if again := c.ask("demo", "GET", url, nil, "").Body.String(); again != first {
			t.Errorf("was not remembered: %s", again)
		}
		i.Version = "2"
	}
	if again := c.ask("demo", "GET", url, nil, "").Body.String(); !strings.Contains(again, "renamed") {
		t.Errorf("was remembered though it changed: %s", again)
	}
}

// Long lists are read in pages and answered whole.
func TestLongList(t *testing.T) {
	c := newConversation(t)
	for range 2*pageSize + 3 {
		if _, err := c.server.cloud.CreateInstance(t.Context(), "demo", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	var list []struct{ UUID string }
	if err := json.Unmarshal(c.ask("demo", "GET", "/instances", nil, "").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, i := range list {
		seen[i.UUID] = true
	}
	if len(list) != 2*pageSize+3 || len(seen) != len(list) {
		t.Errorf("%d instances, %d different", len(list), len(seen))
	}
}

func TestMemoryForgets(t *testing.T) {
	m := newMemory[int](10)
	for i := range 1000 {
		m.put(fmt.Sprint(i), i)
		if v, ok := m.get("0"); !ok || v != 0 { // asked for again and again
			t.Fatalf("after %d: the entry in use was forgotten", i)
		}
		if len(m.young)+len(m.old) > 20 {
			t.Fatalf("it holds %d entries", len(m.young)+len(m.old))
		}
	}
	if _, ok := m.get("500"); ok {
		t.Error("an old entry is still there")
	}
}

// Each answer has an ID under which the log has the request: the caller's, where it is
// one, or a new one.
func TestRequestID(t *testing.T) {
	c := newConversation(t)
	var log bytes.Buffer
	c.server.Logger = slog.New(slog.NewTextHandler(&log, nil))
	for given, want := range map[string]string{"": "r-1", "build-7.a@ci": "build-7.a@ci", "two words": "r-2", "line\nbreak": "r-3", strings.Repeat("x", 129): "r-4"} {
		h := http.Header{}
		if given != "" {
			h.Set("X-Request-Id", given)
		}
		got := c.ask("demo", "GET", "/instances", h, "").Header().Get("X-Request-Id")
		if strings.HasPrefix(want, "r-") != strings.HasPrefix(got, "r-") || !strings.HasPrefix(want, "r-") && got != want {
			t.Errorf("%q becomes %q", given, got)
		}
		if !strings.Contains(log.String(), "request="+got+"\n") {
			t.Errorf("the log has no request %s:\n%s", got, &log)
		}
	}
}
