package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// reader is a reader of a stream of events.
type reader struct {
	t    *testing.T
	body *bufio.Scanner
	id   string // of the last event that had one
	stop func()
}

// read opens a stream as a namespace.
func (c *conversation) read(t *testing.T, h *httptest.Server, who, url, after string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(deadline(t))
	r, err := http.NewRequestWithContext(ctx, "GET", h.URL+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token(who))
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	w, err := h.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != typeEvents {
		t.Fatalf("%s: %s %s", url, w.Status, w.Header.Get("Content-Type"))
	}
	return &reader{t: t, body: bufio.NewScanner(w.Body), stop: func() { cancel(); w.Body.Close() }}
}

// next returns the next event and its name; events without a name have none.
func (r *reader) next() (name string, e eventWire) {
	r.t.Helper()
	for r.body.Scan() {
		field, value, _ := strings.Cut(r.body.Text(), ": ")
		switch field {
		case "id":
			r.id = value
		case "event":
			name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				r.t.Fatalf("%s: %v", value, err)
			}
			return name, e
		}
	}
	r.t.Fatalf("the stream ended: %v", r.body.Err())
	return "", e
}

// until reads until an object's event of an operation and phase, and returns whose
// events came.
func (r *reader) until(id, phase string) (objects map[string]bool) {
	r.t.Helper()
	objects = map[string]bool{}
	for {
		_, e := r.next()
		objects[e.ObjectUUID] = true
		if e.ObjectUUID == id && e.Phase != nil && *e.Phase == phase {
			return objects
		}
	}
}

// TestEventStream follows events of everything and of one object, over a restart
// of the server, as their owner, a stranger and the administrator.
func TestEventStream(t *testing.T) {
	cloud := sftest.New(t)
	c := converse(t, cloud.Cloud)
	h := httptest.NewServer(c.server)
	defer h.Close()
	mine := c.read(t, h, "demo", "/events", "")
	defer mine.stop()
	all := c.read(t, h, "system", "/events", "")
	defer all.stop()
	net := func(who string) string {
		w := c.ask(who, "POST", "/networks", nil, `{"netblock": "10.0.0.0/24"}`)
		var n networkWire
		if err := json.Unmarshal(w.Body.Bytes(), &n); err != nil || n.UUID == "" {
			t.Fatal(w.Code, w.Body)
		}
		return n.UUID
	}
	theirs, ours := net("other"), net("demo")
	if seen := mine.until(ours, "create"); seen[theirs] {
		t.Error("a stranger's events were sent")
	}
	if seen := all.until(ours, "create"); !seen[theirs] {
		t.Error("system does not see everything")
	}
	mine.stop()

	// Another server, later, from where it was.
	if w := c.ask("demo", "DELETE", "/networks/"+ours, nil, ""); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	c2 := converse(t, cloud.Cloud)
	h2 := httptest.NewServer(c2.server)
	defer h2.Close()
	again := c2.read(t, h2, "demo", "/events", mine.id)
	defer again.stop()
	seen := again.until(ours, "delete")
	if seen[theirs] {
		t.Error("a stranger's events were sent after a restart")
	}
	one := c2.read(t, h2, "demo", "/events?kind=network&after=0&id="+ours, "")
	defer one.stop()
	if seen := one.until(ours, "delete"); len(seen) != 1 {
		t.Errorf("events of %v were sent to who asked for one object's", seen)
	}
	for _, tt := range []struct {
		who, url string
		status   int
		text     string
	}{
		{"demo", "/events?kind=network&id=" + theirs, 404, "network not found"},
		{"demo", "/events?kind=network&id=none", 404, "network not found"},
		{"demo", "/events?kind=node&id=node1", 404, "node not found"},
		{"demo", "/events?kind=namespace&id=other", 404, "namespace not found"},
		{"demo", "/events?kind=dog&id=x", 400, "kind should be"},
		{"demo", "/events?id=x", 400, "an id needs a kind"},
		{"demo", "/events?kind=network", 400, "a kind needs an id"},
		{"demo", "/events?after=x", 400, "should be the id"},
		{"-", "/events", 401, "Missing Authorization Header"},
	} {
		if w := c2.ask(tt.who, "GET", tt.url, nil, ""); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s GET %s: %d %s", tt.who, tt.url, w.Code, w.Body)
		}
	}
}

// followed is a cloud that is followed once.
type followed struct {
	*fakeCloud
	begins func()
}

func (f followed) FollowEvents(context.Context, sf.FollowOptions) iter.Seq2[*sf.EventBatch, error] {
	f.begins()
	return func(yield func(*sf.EventBatch, error) bool) {
		if yield(&sf.EventBatch{Position: 7}, nil) {
			yield(nil, errors.New("enough"))
		}
	}
}

// Who follows from now on is not answered before it is known from where: they may
// take the answer for that moment. Who says from where is answered at once, though
// nothing may happen for long.
func TestEventStreamBegins(t *testing.T) {
	for url, early := range map[string]bool{"/events": false, "/events?after=7": true} {
		f := newFake()
		c := converse(t, f)
		w := httptest.NewRecorder()
		c.server.cloud = followed{f, func() {
			if w.Flushed != early {
				t.Errorf("%s was answered before it began: %t", url, w.Flushed)
			}
		}}
		r := httptest.NewRequestWithContext(t.Context(), "GET", url, nil)
		r.Header.Set("Authorization", "Bearer "+c.token("demo"))
		c.server.ServeHTTP(w, r)
		if s := w.Body.String(); w.Code != 200 || !strings.HasPrefix(s, ": events follow\n\nid: 7\n\nevent: error\n") {
			t.Errorf("%s: %d %q", url, w.Code, s)
		}
	}
}

// TestEventStreamEnds ends streams from the server's side: when it stops, and when
// the key that opened one is gone.
func TestEventStreamEnds(t *testing.T) {
	f := newFake()
	c := converse(t, f)
	stopping, stop := context.WithCancel(t.Context())
	c.server.stopping = stopping
	pass := make(chan struct{})
	c.server.Sleep = func(ctx context.Context, _ time.Duration) error {
		select {
		case <-pass:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h := httptest.NewServer(c.server)
	defer h.Close()
	revoked := c.read(t, h, "demo", "/events", "")
	defer revoked.stop()
	if err := f.DeleteKey(t.Context(), "demo", "test"); err != nil {
		t.Fatal(err)
	}
	give(t, "a check of the key", pass, struct{}{})
	if name, _ := revoked.next(); name != "error" {
		t.Errorf("without a key: %q", name)
	}
	stopped := c.read(t, h, "other", "/events", "")
	defer stopped.stop()
	stop()
	if name, _ := stopped.next(); name != "error" {
		t.Errorf("when the server stops: %q", name)
	}
}

// TestClientFollows follows everything and one object by the client of Go, whose
// connections are cut again and again: each event comes once, in order.
func TestClientFollows(t *testing.T) {
	cloud := sftest.New(t)
	c := converse(t, cloud.Cloud)
	h := httptest.NewServer(c.server)
	defer h.Close()
	cl := dialClient(t, h.URL, "demo")
	ctx := deadline(t)
	n, err := cl.Sync().CreateNetwork(ctx, "", spec.NetworkSpec{Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for b, err := range cl.FollowEvents(ctx, spec.FollowOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Kind != spec.KindNetwork || e.Object != n.UUID {
				t.Errorf("an event of %s %s was sent to demo", e.Kind, e.Object)
			}
			seen = append(seen, e.Operation+" "+e.Phase)
			h.CloseClientConnections()
			if len(seen) == 1 {
				if err := dialClient(t, h.URL, "demo").DeleteNetwork(ctx, n.UUID); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(seen) > 0 && strings.HasPrefix(seen[len(seen)-1], "api delete") {
			break
		}
	}
	kept, err := cl.Events(ctx, spec.KindNetwork, n.UUID)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, e := range kept {
		want = append(want, e.Operation+" "+e.Phase)
	}
	if d := cmp.Diff(want[:len(seen)], seen); d != "" {
		t.Errorf("(-kept +followed):\n%s", d)
	}
	for _, err := range cl.FollowEvents(ctx, spec.FollowOptions{Kind: spec.KindNetwork, Object: "none"}) {
		if !errors.Is(err, spec.ErrNotFound) {
			t.Errorf("of what is not there: %v", err)
		}
	}
}
