package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/spec"
)

// streamer serves streams from a script, one entry a connection: text that breaks off
// after it, or a status and a body.
type streamer struct {
	script []string
	asked  []string // from where, of each connection
	tokens int
}

func (s *streamer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/auth" {
		s.tokens++
		fmt.Fprintf(w, `{"access_token": "t%d"}`, s.tokens)
		return
	}
	s.asked = append(s.asked, r.URL.RawQuery)
	next := s.script[0]
	if len(s.script) > 1 {
		s.script = s.script[1:]
	}
	var status int
	if _, err := fmt.Sscanf(next, "%d ", &status); err == nil {
		w.WriteHeader(status)
		io.WriteString(w, next[4:])
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, next)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// followed follows until an error, and returns what came as text.
func (s *streamer) followed(t *testing.T, opt spec.FollowOptions) (got []string, err error) {
	h := httptest.NewServer(s)
	defer h.Close()
	c, err := New(Config{URL: h.URL, Namespace: "n", Key: "k", Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range c.FollowEvents(t.Context(), opt) {
		if err != nil {
			return got, err
		}
		line := fmt.Sprint(b.Position)
		if b.Gap {
			line += " gap"
		}
		for _, e := range b.Events {
			line += " " + e.Message
		}
		got = append(got, line)
	}
	return got, nil
}

// A stream that breaks goes on behind the last position, and what had come of a commit
// whose position had not is not delivered twice.
func TestFollowGoesOn(t *testing.T) {
	s := &streamer{script: []string{
		": events follow\n\nid: 5\n\n",
		"data: {\"message\": \"a\"}\n\nid: 7\ndata: {\"message\": \"b\"}\n\n:\n\ndata: {\"message\": \"cut",
		"503 {\"error\": \"no store\", \"status\": 503}",
		"data: {\"message\": \"c\"}\n\n",
		"event: gap\ndata: {}\n\ndata: {\"message\": \"c\"}\n\nid: 9\ndata: {\"message\": \"d\"}\n\nevent: news\ndata: {}\n\nevent: error\ndata: {\"error\": \"the server stops\", \"status\": 503}\n\n",
		"401 {\"error\": \"expired\", \"status\": 401, \"class\": \"unauthorized\"}",
		"id: 10\ndata: {\"message\": \"e\"}\n\n",
		"404 {\"error\": \"network not found\", \"status\": 404, \"class\": \"not-found\"}",
	}}
	got, err := s.followed(t, spec.FollowOptions{Kind: spec.KindNetwork, Object: "u", After: -1})
	if !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("it ended by %v", err)
	}
	if d := cmp.Diff([]string{"5", "7 a b", "9 gap c d", "10 e"}, got); d != "" {
		t.Error(d)
	}
	of := func(after string) string { return after + "id=u&kind=network" }
	if d := cmp.Diff([]string{of(""), of("after=5&"), of("after=7&"), of("after=7&"), of("after=7&"), of("after=9&"), of("after=9&"), of("after=10&")}, s.asked); d != "" {
		t.Error(d)
	}
	if s.tokens != 2 {
		t.Errorf("%d tokens were asked for", s.tokens)
	}
}

// Where it ends for good, and what is said.
func TestFollowEnds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		script   []string
		class    error
		text     string
		requests int
	}{
		{"refused at first", []string{"503 {\"error\": \"no store\"}"}, spec.ErrUnavailable, "no store", 1},
		{"a server of 0.2", []string{"404 <title>404 Not Found</title>"}, spec.ErrInvalid, "has no streams of events", 1},
		{"no stream", []string{"200 <html>"}, spec.ErrInvalid, "did not send a stream", 1},
		{"gone for long", []string{"id: 1\n\n", "503 {\"error\": \"no store\"}"}, spec.ErrUnavailable, "no store", followAttempts},
		{"the key is gone", []string{"id: 1\n\n", "401 {\"error\": \"unauthorized\", \"class\": \"unauthorized\"}"}, spec.ErrUnauthorized, "unauthorized", 3},
		{"broken data", []string{"data: {\n\n"}, spec.ErrInvalid, "not what was expected", 1},
		{"broken ID", []string{"id: x\n\n"}, spec.ErrInvalid, "not what was expected", 1},
		{"broken error", []string{"event: error\ndata: x\n\n"}, spec.ErrInvalid, "not what was expected", 1},
		{"an error of the server", []string{"event: error\ndata: {\"error\": \"no\", \"status\": 400, \"class\": \"invalid\"}\n\n"}, spec.ErrInvalid, "no", 1},
	} {
		s := &streamer{script: tt.script}
		_, err := s.followed(t, spec.FollowOptions{})
		if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.text) || len(s.asked) != tt.requests {
			t.Errorf("%s: after %d requests %v", tt.name, len(s.asked), err)
		}
	}
}

// The past comes in pieces, and a reader who breaks off is not called again.
func TestFollowPast(t *testing.T) {
	s := &streamer{script: []string{strings.Repeat("data: {\"message\": \"x\"}\n\n", piece+1) + "id: 3\n\n", "404 "}}
	got, _ := s.followed(t, spec.FollowOptions{})
	if len(got) != 2 || got[0] != "0"+strings.Repeat(" x", piece) || got[1] != "3 x" || s.asked[0] != "after=0" {
		t.Errorf("%q", got)
	}
	h := httptest.NewServer(&streamer{script: []string{"id: 1\n\nid: 2\n\n"}})
	defer h.Close()
	c, _ := New(Config{URL: h.URL, Namespace: "n", Key: "k"})
	for b := range c.FollowEvents(t.Context(), spec.FollowOptions{}) {
		if b.Position != 1 {
			t.Errorf("called again with %d", b.Position)
		}
		break
	}
}
