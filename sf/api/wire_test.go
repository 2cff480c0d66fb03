package api

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// The files of testdata/wire are conversations with the API. A line that begins
// with "> " is a request: who asks, the method, the URL, and perhaps headers in
// brackets and a body. What follows it is the answer. What differs from run to
// run is replaced: UUIDs by {uuid-1} and so on in the order in which they appear
// (a later request can name them like that), MACs and times likewise. All of it is held
// against the document of the API, too.
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/wire/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := converse(t, wireCloud(t, t.Name()[len("TestWire/"):]))
			c.contract = newContract(t)
			got := c.replay(string(want))
			if asked := len(requests.FindAll(want, -1)); c.held != asked {
				t.Errorf("%d of %d answers were held against the document of the API", c.held, asked)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := gocmp.Diff(string(want), got); d != "" {
				t.Errorf("the conversation went differently (-want +got):\n%s", d)
			}
		})
	}
}

// TestEveryRouteHasGoldenTests checks that the conversations ask each URL, and
// get each to succeed.
func TestEveryRouteHasGoldenTests(t *testing.T) {
	tested := map[string]bool{}
	mux := http.NewServeMux()
	for _, rt := range routes() {
		mux.HandleFunc(rt.method+" "+rt.pattern, func(http.ResponseWriter, *http.Request) {})
	}
	files, _ := filepath.Glob("testdata/wire/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^> \S+ (\S+) (\S+).*\n< (200|101) `).FindAllStringSubmatch(string(text), -1) {
			_, pattern := mux.Handler(httptest.NewRequest(m[1], m[2], nil))
			tested[pattern] = true
		}
	}
	for _, rt := range routes() {
		if !tested[rt.method+" "+rt.pattern] && !strings.HasSuffix(rt.pattern, "/console") && !strings.HasSuffix(rt.pattern, "/vdi") && rt.pattern != "/events" && rt.pattern != "/metrics" && rt.pattern != "/openapi.json" { // websockets, streams and long texts: console_test.go, display_test.go, stream_test.go, metrics_test.go, openapi_test.go
			t.Errorf("%s %s: no conversation gets a 200 from it", rt.method, rt.pattern)
		}
	}
}

// conversation is a server and what its callers know.
type conversation struct {
	t      testing.TB
	server *server
	names  map[string]string // of what was replaced: value to name
	tokens map[string]string // by namespace
	script string            // being replayed

	contract *contract // that all is held against; nil for nothing
	held     int       // requests that were
}

// newConversation talks to a fake cloud.
func newConversation(t testing.TB) *conversation { return converse(t, newFake()) }

func converse(t testing.TB, f cloud) *conversation {
	for _, ns := range []string{"system", "demo", "other"} {
		if err := f.CreateNamespace(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		if err := f.SetKey(t.Context(), ns, "test", "secret-of-"+ns); err != nil {
			t.Fatal(err)
		}
	}
	c := &conversation{t: t, names: map[string]string{}, tokens: map[string]string{}}
	c.server = newServer(f, testConfig())
	return c
}

// testConfig is quick, and the same in each run.
func testConfig() Config {
	var n atomic.Int64
	now := time.Unix(1601091300, 0).UTC()
	return Config{
		Secret: []byte("a secret for tests, 32 bytes long"),
		Now:    func() time.Time { return now },
		NewID:  func() string { return fmt.Sprintf("r-%d", n.Add(1)) },
	}
}

func (c *conversation) token(namespace string) string {
	if c.tokens[namespace] == "" {
		ns, err := c.server.cloud.Namespace(c.t.Context(), namespace)
		if err != nil {
			c.t.Fatal(err)
		}
		c.tokens[namespace], err = c.server.tokens.issue(namespace, &ns.Keys[0])
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return c.tokens[namespace]
}

// ask sends a request as a namespace, or as nobody where that is "-".
func (c *conversation) ask(who, method, url string, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	if who != "-" {
		r.Header.Set("Authorization", "Bearer "+c.token(who))
	}
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	c.server.ServeHTTP(w, r)
	if c.contract != nil {
		c.held++
		if err := c.contract.holds(method, url, body, w); err != nil {
			c.t.Errorf("%s %s %s: %v", method, url, body, err)
		}
	}
	return w
}

// replay repeats the requests of a conversation and returns it with the answers
// that they got.
func (c *conversation) replay(script string) string {
	var out bytes.Buffer
	c.script = script
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "#") {
			fmt.Fprintf(&out, "\n%s", line)
			continue
		}
		request, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> ")
		if !ok {
			continue
		}
		who, rest, _ := strings.Cut(c.fillIn(request), " ")
		method, rest, _ := strings.Cut(rest, " ")
		url, rest, _ := strings.Cut(rest, " ")
		header := http.Header{}
		for h := headers.FindStringSubmatch(rest); h != nil; h = headers.FindStringSubmatch(rest) {
			header.Set(h[1], h[2])
			rest = rest[len(h[0]):]
		}
		w := c.ask(who, method, url, header, rest)
		body := triggers.ReplaceAllString(c.mask(w.Body.String()), "")
		if url == "/instances" || url == "/networks" {
			body = sorted(body)
		}
		fmt.Fprintf(&out, "> %s\n< %d %s\n%s", request, w.Code, w.Header().Get("Content-Type"), body)
		if !strings.HasSuffix(w.Body.String(), "\n") {
			out.WriteString(" (no newline)\n")
		}
	}
	return strings.TrimPrefix(out.String(), "\n")
}

var (
	requests = regexp.MustCompile(`(?m)^> `)
	headers  = regexp.MustCompile(`^\[([A-Za-z-]+): ([^]]*)\] ?`)

	uuids    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	opIDs    = regexp.MustCompile(`\b[0-9a-f]{16}-[0-9a-f]{8}\b`)
	digests  = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	macs     = regexp.MustCompile(`02:00(:[0-9a-f]{2}){4}`)
	jwts     = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
	triggers = regexp.MustCompile(`,?\{[^{}]*(\{time\}[^{}]*|\{uuid-\d+\}[^{}]*)*"operation":"trigger"[^{}]*(\{time\}[^{}]*)*\}`) // they come when they come
	ips      = regexp.MustCompile(`"(ipv4|floating|floating_gateway)":"([0-9.]+)"`)
	versions = regexp.MustCompile(`"version":"\d+(\.\d+)+"`)
	matches  = regexp.MustCompile(`version is \\"[0-9.]+\\"`)
	vnis     = regexp.MustCompile(`"(vxid|vxlan_id)":[1-9][0-9]*`)
	times    = regexp.MustCompile(`"(duration|deadline|state_updated|power_state_updated|created|timestamp|last|lastseen|used|since|requested|done|next)":("[^"]*"|[0-9.]+)`)
)

// mask replaces what differs from run to run.
func (c *conversation) mask(s string) string {
	s = uuids.ReplaceAllStringFunc(s, func(v string) string { return c.name("uuid", v) })
	s = opIDs.ReplaceAllStringFunc(s, func(v string) string { return c.name("op", v) })
	s = digests.ReplaceAllStringFunc(s, func(v string) string { return c.name("image", v) })
	s = macs.ReplaceAllStringFunc(s, func(v string) string { return c.name("mac", v) })
	s = jwts.ReplaceAllString(s, "{token}")
	s = versions.ReplaceAllString(s, `"version":{version}`)
	s = matches.ReplaceAllString(s, `version is {version}`)
	s = vnis.ReplaceAllString(s, `"$1":{vni}`)
	s = ips.ReplaceAllStringFunc(s, func(v string) string {
		if m := ips.FindStringSubmatch(v); !strings.Contains(c.script, m[2]) {
			return fmt.Sprintf(`"%s":"%s"`, m[1], c.name("ip", m[2]))
		}
		return v
	})
	return times.ReplaceAllString(s, `"$1":{time}`)
}

// sorted puts the elements of a list in the order of their names: the server's
// order is that of UUIDs, which are random.
func sorted(list string) string {
	list = strings.TrimSuffix(list, "\n")
	for _, between := range []string{"},{", `","`} {
		if inner, ok := strings.CutPrefix(list, "["+between[2:]); ok && strings.HasSuffix(inner, between[:1]+"]") {
			parts := strings.Split(strings.TrimSuffix(inner, between[:1]+"]"), between)
			slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(firstName(a), firstName(b)) })
			return "[" + between[2:] + strings.Join(parts, between) + between[:1] + "]\n"
		}
	}
	return list + "\n"
}

// firstName is the number of the first UUID in a record.
func firstName(record string) int {
	n := 0
	if _, after, ok := strings.Cut(record, "{uuid-"); ok {
		fmt.Sscan(after, &n)
	}
	return n
}

func (c *conversation) name(kind, value string) string {
	if c.names[value] == "" {
		n := 1
		for _, name := range c.names {
			if strings.HasPrefix(name, "{"+kind) {
				n++
			}
		}
		c.names[value] = fmt.Sprintf("{%s-%d}", kind, n)
	}
	return c.names[value]
}

// fillIn puts back what mask replaced.
func (c *conversation) fillIn(s string) string {
	for value, name := range c.names {
		s = strings.ReplaceAll(s, name, value)
	}
	return s
}
