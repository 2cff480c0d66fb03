package api

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// endless is a cloud in which nothing that takes time ends before it is told to, and
// which notes who waited.
type endless struct {
	*fakeCloud
	end chan struct{}

	mu     sync.Mutex
	waited bool
	ended  []string
}

var errWaited = errors.New("somebody waited")

func (e *endless) wait() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waited = true
	return errWaited
}

func (e *endless) WaitInstance(context.Context, string, func(*spec.Instance) (bool, error)) (*spec.Instance, error) {
	return nil, e.wait()
}

func (e *endless) WaitNetwork(context.Context, string, func(*spec.Network) (bool, error)) (*spec.Network, error) {
	return nil, e.wait()
}

func (e *endless) WaitOperation(context.Context, *spec.Operation) (*spec.Operation, error) {
	return nil, e.wait()
}

func (e *endless) WaitSnapshotGone(context.Context, string) error { return e.wait() }

// long is a call that answers only when it is done.
func (e *endless) long(ctx context.Context, name string) error {
	e.wait()
	select {
	case <-e.end:
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = append(e.ended, name)
	return ctx.Err()
}

func (e *endless) CacheImage(ctx context.Context, name string, report func(sf.Progress)) error {
	if strings.Contains(name, "nowhere") {
		return spec.Errorf(spec.ErrInvalid, "there is no image %s", name)
	}
	if report != nil {
		report(sf.Progress{Stage: "downloading"})
	}
	return e.long(ctx, name)
}

func (e *endless) DrainNode(ctx context.Context, name string, _ sf.DrainOptions) (*sf.Drained, error) {
	return &sf.Drained{}, e.long(ctx, name)
}

// never is a conversation with such a cloud, in which demo has one of everything.
func never(t *testing.T) (*conversation, *endless) {
	c := withObjects(t)
	e := &endless{fakeCloud: c.server.cloud.(*fakeCloud), end: make(chan struct{})}
	return c, e
}

// asyncBodies are arguments with which routes succeed that need some, for system.
var asyncBodies = map[string]string{
	"POST /auth": `{"namespace": "demo", "key": "secret-of-demo"}`, "POST /auth/namespaces": `{"namespace": "new"}`,
	"POST /auth/namespaces/{namespace}/keys": `{"key_name": "k", "key": "v"}`, "PUT /auth/namespaces/{namespace}/keys/{key_name}": `{"key": "v"}`,
	"POST /networks": `{"netblock": "10.1.0.0/24"}`, "POST /instances": vm(oneDisk), "POST /images": `{"url": "http://x/y"}`,
	"DELETE /instances": `{"confirm": true, "namespace": "demo"}`, "DELETE /networks": `{"confirm": true, "namespace": "other"}`,
}

// succeeding is a request for a route that succeeds.
func succeeding(c *conversation, rt *route) (url, body string) {
	url, body = concrete(c, rt.pattern), asyncBodies[rt.method+" "+rt.pattern]
	switch {
	case strings.HasSuffix(rt.pattern, "/metadata"):
		body = `{"key": "a", "value": "v"}`
	case rt.method == http.MethodPut && body == "":
		body = `{"value": "v"}`
	case rt.pattern == "/auth/namespaces/{namespace}":
		url = "/auth/namespaces/new"
	case rt.pattern == "/networks/{network_uuid}", rt.pattern == "/networks" && rt.method == http.MethodDelete:
		id := c.makes("other", "POST /networks", `{"netblock": "10.2.0.0/24"}`)
		url = strings.Replace(rt.pattern, "{network_uuid}", id, 1)
	}
	return url, body
}

// TestAsync holds for every route that changes something that ?async=1 answers at once,
// and that those wait without which the document says so.
func TestAsync(t *testing.T) {
	for _, rt := range routes() {
		if rt.method == http.MethodGet {
			continue
		}
		name := rt.method + " " + rt.pattern
		t.Run(name, func(t *testing.T) {
			c, e := never(t)
			url, body := succeeding(c, &rt)
			c.server.cloud = e
			close(e.end)
			w := c.ask("system", rt.method, url, nil, body)
			waits := slices.Contains(strings.Fields(descriptions[name].query), "async")
			if waits != e.waited || !waits && w.Code != 200 {
				t.Errorf("it waits: %v, described so: %v; %d %s", e.waited, waits, w.Code, w.Body)
			}

			c, e = never(t)
			url, body = succeeding(c, &rt)
			c.server.cloud = e
			w = c.ask("system", rt.method, url+"?async=1", nil, body)
			e.mu.Lock()
			defer e.mu.Unlock()
			if w.Code != 200 || e.waited && w.Body.String() != "null\n" { // something waits, but not the caller
				t.Errorf("with async: %d %s; waited: %v", w.Code, w.Body, e.waited)
			}
			close(e.end)
		})
	}
}

// TestLater holds that what goes on behind an answer ends with the server, that an
// error that is known at once is told, and one that comes later is in the log.
func TestLater(t *testing.T) {
	c, e := never(t)
	c.server.cloud = e
	var log syncBuffer
	c.server.Logger = slog.New(slog.NewTextHandler(&log, nil))
	stopping, stop := context.WithCancel(t.Context())
	c.server.stopping = stopping
	c.wants("system", "POST /images?async=1", `{"url": "http://nowhere/x"}`, 400, "there is no image")
	c.wants("system", "POST /images?async=1", `{"url": "http://me:hunter2@x/y?token=hunter2#hunter2"}`, 200, "null")
	stop()
	for patience := deadline(t); !strings.Contains(log.String(), "what was begun for a caller failed"); {
		if time.Sleep(time.Millisecond); patience.Err() != nil {
			t.Fatalf("the download goes on: %s", log.String())
		}
	}
	if s := log.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "kind=image object=http://x/y") {
		t.Errorf("the log says %s", s)
	}
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestAuditNames holds that the audit says who did what to what, from where, and that
// refusals are in it.
func TestAuditNames(t *testing.T) {
	for _, tt := range []struct{ who, request, body, says string }{
		{"system", "POST /auth/namespaces/demo/keys", `{"key_name": "ci", "key": "hunter2"}`, `namespace=system from=192.0.2.1 kind=key object=demo/ci outcome=done`},
		{"system", "PUT /auth/namespaces/demo/keys/test", `{"key": "hunter2"}`, `kind=key object=demo/test outcome=done`},
		{"system", "DELETE /auth/namespaces/demo/keys/none", "", `kind=key object=demo/none outcome=not-found`},
		{"demo", "DELETE /instances", `{"confirm": true}`, `namespace=demo from=192.0.2.1 kind=namespace object=demo outcome=done`},
		{"system", "DELETE /instances", `{"confirm": true, "namespace": "system"}`, `kind=namespace object=system outcome=done`},
		{"demo", "DELETE /instances", `{"confirm": true, "namespace": "other"}`, `kind="" object="" outcome=forbidden`},
		{"demo", "DELETE /nodes/node1", "", `kind=node object=node1 outcome=forbidden`},
		{"other", "POST /instances/{instance_uuid}/poweroff", "", `outcome=not-found`},
		{"demo", "POST /instances/{instance_uuid}/poweroff", "", `action="POST /instances/{instance_uuid}/poweroff" namespace=demo from=192.0.2.1 kind=instance object=0`},
		{"demo", "GET /snapshots/{snapshot_uuid}/{device}", "", `kind=snapshot object=0`},
		{"-", "POST /auth", `{"namespace": "demo", "key": "hunter2"}`, `namespace="" from=192.0.2.1 kind=namespace object=demo outcome=unauthorized`},
	} {
		c := withObjects(t)
		var log bytes.Buffer
		c.server.Logger = slog.New(slog.NewTextHandler(&log, nil))
		method, url, _ := strings.Cut(tt.request, " ")
		c.ask(tt.who, method, concrete(c, url), nil, tt.body)
		i := strings.Index(log.String(), "msg=audit")
		if i < 0 || !strings.Contains(log.String()[i:], tt.says) || strings.Contains(log.String(), "hunter2") {
			t.Errorf("%s %s %s:\n%swant %s", tt.who, tt.request, tt.body, log.String(), tt.says)
		}
	}
}

// TestOnlyOnce holds that an idempotency key is never taken in vain.
func TestOnlyOnce(t *testing.T) {
	for _, rt := range routes() {
		if rt.method == http.MethodGet {
			continue
		}
		c := withObjects(t)
		w := c.ask("system", rt.method, concrete(c, rt.pattern), http.Header{"Idempotency-Key": {"k"}}, "")
		twice := strings.Contains(rt.pattern, "/reboot") || strings.HasSuffix(rt.pattern, "/recover") || rt.method == "POST" && strings.HasSuffix(rt.pattern, "/snapshot")
		if refused := strings.Contains(w.Body.String(), "Idempotency-Key"); refused != twice {
			t.Errorf("%s %s: %d %s", rt.method, rt.pattern, w.Code, w.Body)
		}
		if rt.access == instanceOwner && strings.HasSuffix(rt.pattern, "/poweroff") && w.Code != 200 {
			t.Errorf("%s %s: %d %s", rt.method, rt.pattern, w.Code, w.Body)
		}
	}
}
