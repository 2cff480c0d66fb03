package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// concrete fills in a route's pattern: with objects of the namespace demo.
func concrete(c *conversation, pattern string) string {
	f := c.server.cloud.(*fakeCloud)
	for id := range f.instances {
		pattern = strings.ReplaceAll(pattern, "{instance_uuid}", id)
	}
	for id := range f.networks {
		if id != spec.FloatingNetwork {
			pattern = strings.ReplaceAll(pattern, "{network_uuid}", id)
		}
	}
	for id := range f.nics {
		pattern = strings.ReplaceAll(pattern, "{interface_uuid}", id)
	}
	for _, s := range f.snapshots {
		pattern = strings.ReplaceAll(pattern, "{snapshot_uuid}", s.UUID)
	}
	for _, op := range f.operations {
		pattern = strings.ReplaceAll(pattern, "{operation_id}", op.ID)
	}
	return strings.NewReplacer("{$}", "", "{namespace}", "demo", "{key_name}", "test", "{key}", "a", "{device}", "vda", "{image_id}", "sha256-2", "{node}", "node1").Replace(pattern)
}

// withObjects is a conversation in a cloud where demo has one of everything.
func withObjects(t testing.TB) *conversation {
	c := newConversation(t)
	f := c.server.cloud
	n, err := f.CreateNetwork(t.Context(), "demo", spec.NetworkSpec{Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.CreateInstance(t.Context(), "demo", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}},
		Interfaces: []spec.InterfaceSpec{{Network: n.UUID}}, Metadata: spec.Metadata{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for id := range f.(*fakeCloud).instances {
		if _, err := f.Reboot(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Snapshot(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
	}
	f.(*fakeCloud).SetMetadata(t.Context(), spec.KindNetwork, n.UUID, "a", "b")
	f.(*fakeCloud).SetMetadata(t.Context(), spec.KindNamespace, "demo", "a", "b")
	return c
}

// TestRoles walks the table: what needs a token says so without one, what needs
// the administrator refuses others, and what has an owner hides from strangers.
func TestRoles(t *testing.T) {
	for _, rt := range routes() {
		t.Run(rt.method+" "+rt.pattern, func(t *testing.T) {
			c := withObjects(t)
			url := concrete(c, rt.pattern)
			if strings.Contains(url, "{") {
				t.Fatalf("the test can't fill in %s", url)
			}
			check := func(who string, status int, text string) {
				t.Helper()
				w := c.ask(who, rt.method, url, nil, "")
				if w.Code != status || !strings.Contains(w.Body.String(), text) {
					t.Errorf("as %s: %d %s, want %d with %q", who, w.Code, w.Body, status, text)
				}
			}
			if rt.access == anyone {
				return
			}
			check("-", 401, "Missing Authorization Header")
			switch {
			case rt.access == admin:
				check("demo", 401, `"unauthorized","status":401,"class":"forbidden"`)
			case rt.access == member:
				check("other", 401, `"unauthorized","status":401,"class":"forbidden"`)
			case rt.access == instanceOwner:
				check("other", 404, `"instance not found"`)
			case rt.access == networkOwner:
				check("other", 404, `"network not found"`)
			case rt.access == snapshotOwner:
				check("other", 404, `"snapshot not found"`)
			case rt.access == interfaceOwner:
				check("other", 404, `interface not found"`)
			}
		})
	}
}

// TestEveryFault walks the table again, with a cloud whose every method fails in
// turn: the answer is an error of the failure's status, or a success where the
// method isn't used, but never a success that hides it and never a panic.
func TestEveryFault(t *testing.T) {
	bodies := map[string]string{
		"POST /auth":                                       `{"namespace": "demo", "key": "secret-of-demo"}`,
		"POST /auth/namespaces":                            `{"namespace": "new", "key_name": "k", "key": "s"}`,
		"POST /auth/namespaces/{namespace}/keys":           `{"key_name": "k", "key": "s"}`,
		"PUT /auth/namespaces/{namespace}/keys/{key_name}": `{"key": "s"}`,
		"POST /networks":                                   `{"netblock": "10.1.0.0/24"}`,
		"POST /instances":                                  `{"name": "vm", "cpus": 1, "memory": 64, "disk": [{"size": 1}], "user_data": "aGk="}`,
		"POST /images":                                     `{"url": "cirros"}`,
		"DELETE /networks":                                 `{"confirm": true, "namespace": "other"}`,
		"DELETE /instances":                                `{"confirm": true, "namespace": "demo"}`,
	}
	methods := strings.Fields("CreateNamespace Namespace Namespaces DeleteNamespace SetKey DeleteKey Authenticate " +
		"Metadata ChangeMetadata Events CreateNetwork Network Networks DeleteNetwork WaitNetwork NetworkInterfaces " +
		"CreateInstance Instance Instances DeleteInstance WaitInstance InstanceInterfaces Interface Float Defloat UserData SetPower " +
		"Reboot Operation Operations WaitOperation Snapshot SnapshotByID InstanceSnapshots Snapshots OpenSnapshot DeleteSnapshot WaitSnapshotGone " +
		"Images CacheImage DeleteImage " +
		"ConsoleLog Console Nodes")
	used := map[string]bool{}
	for _, rt := range routes() {
		if rt.pattern == "/events" || strings.HasSuffix(rt.pattern, "/console") || strings.HasSuffix(rt.pattern, "/vdi") {
			continue // needs a connection: console_test.go
		}
		body := bodies[rt.method+" "+rt.pattern]
		if body == "" && rt.args != "" {
			body = `{"key": "a", "value": "b"}`
		}
		for _, method := range methods {
			c := withObjects(t)
			url := concrete(c, rt.pattern)
			c.token("system")
			body := body
			if strings.Contains(rt.args, "all") || strings.Contains(rt.args, "length") {
				body = ""
			}
			if strings.HasSuffix(rt.pattern, "/drain") || strings.HasSuffix(rt.pattern, "/recover") {
				body = ""
			}
			if rt.pattern == "/auth/namespaces/{namespace}" {
				url = "/auth/namespaces/other"
			}
			if rt.method == "PUT" && strings.Contains(rt.pattern, "metadata") {
				body = `{"value": "b"}`
			}
			c.server.cloud.(*fakeCloud).faults[method] = spec.Errorf(spec.ErrUnavailable, "the store is away")
			w := c.ask("system", rt.method, url, nil, body)
			switch {
			case w.Code == 503 && strings.Contains(w.Body.String(), "the store is away"):
				used[method] = true
			case w.Code == 503 && rt.pattern == "/healthz": // which does not say why to everybody
			case w.Code == 403 && rt.method == "DELETE" && rt.pattern == "/networks/{network_uuid}": // in use, found before
			case w.Code != 200:
				t.Errorf("%s %s with a broken %s: %d %s", rt.method, url, method, w.Code, w.Body)
			}
		}
	}
	for _, method := range methods {
		if !used[method] && method != "Console" {
			t.Errorf("no route showed a fault of %s", method)
		}
	}
}

// TestErrorClasses checks status and class of everything that a cloud may fail
// with, and that clients find the words they look for.
func TestErrorClasses(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		text   string
	}{
		{spec.Errorf(spec.ErrInvalid, "bad name"), 400, `{"error":"bad name","status":400,"class":"invalid"}`},
		{spec.Errorf(spec.ErrNotFound, "network %s not found", "x").About("network", "x"), 404, `{"error":"network x not found","status":404,"class":"not-found","kind":"network","id":"x"}`},
		{spec.Errorf(spec.ErrNotFound, "it has gone"), 404, `{"error":"not found: it has gone","status":404,"class":"not-found"}`},
		{spec.Errorf(spec.ErrConflict, "address 10.0.0.7 in use"), 409, `{"error":"address 10.0.0.7 in use","status":409,"class":"conflict"}`},
		{spec.Errorf(spec.ErrInUse, "in use"), 403, `{"error":"in use","status":403,"class":"in-use"}`},
		{spec.Errorf(spec.ErrForbidden, "no"), 403, `{"error":"no","status":403,"class":"forbidden"}`},
		{spec.Errorf(spec.ErrUnauthorized, "who?"), 401, `{"error":"who?","status":401,"class":"unauthorized"}`},
		{spec.Errorf(spec.ErrNoCapacity, "sf-1: no memory"), 507, `{"error":"insufficient capacity: sf-1: no memory","status":507,"class":"no-capacity"}`},
		{spec.Errorf(spec.ErrUnavailable, "store away"), 503, `{"error":"store away","status":503,"class":"unavailable"}`},
		{spec.Errorf(spec.ErrTimeout, "slow"), 504, `{"error":"slow","status":504,"class":"timeout"}`},
		{spec.Errorf(spec.ErrFailed, "no such image"), 500, `{"error":"no such image","status":500,"class":"failed"}`},
		{fmt.Errorf("create: %w", spec.Errorf(spec.ErrInvalid, "bad")), 400, `{"error":"create: bad","status":400,"class":"invalid"}`},
		{errors.New("password of the database is hunter2"), 500, `{"error":"server error (the log has the cause, under request r-1)","status":500}`},
	} {
		c := newConversation(t)
		c.server.cloud.(*fakeCloud).faults["CreateInstance"] = tt.err
		w := c.ask("demo", "POST", "/instances", nil, `{"name": "vm", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}`)
		got := strings.ReplaceAll(w.Body.String(), "r-2", "r-1") // the token took an ID before
		if w.Code != tt.status || got != tt.text+"\n" {
			t.Errorf("%v: %d %s, want %d %s", tt.err, w.Code, got, tt.status, tt.text)
		}
	}
}

// TestWaitEnds checks the four ways in which a wait ends.
func TestWaitEnds(t *testing.T) {
	const create = `{"name": "vm", "cpus": 1, "memory": 64, "disk": [{"size": 1, "base": "cirros"}]}`
	t.Run("time is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newConversation(t)
			f := c.server.cloud.(*fakeCloud)
			f.hold = true
			w := c.ask("demo", "POST", "/instances", nil, create)
			want := `{"error":"instance {uuid-1} is not created after 10m0s (it waits for downloading cirros); work on it goes on, so look at it again later","status":504,"class":"timeout","kind":"instance","id":"{uuid-1}"}` + "\n"
			if got := c.mask(w.Body.String()); got != want || w.Code != 504 {
				t.Errorf("%d %s, want %s", w.Code, got, want)
			}
			if len(f.instances) != 1 {
				t.Error("the instance is gone")
			}
			w = c.ask("demo", "DELETE", c.fillIn("/instances/{uuid-1}"), nil, "")
			if w.Code != 504 || !strings.Contains(w.Body.String(), "is not deleted after 10m0s") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	})
	t.Run("async", func(t *testing.T) {
		c := newConversation(t)
		c.server.cloud.(*fakeCloud).hold = true
		w := c.ask("demo", "POST", "/instances?async=1", nil, create)
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"state":"creating"`) || !strings.Contains(w.Body.String(), `"reason":"downloading cirros"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		id := strings.Split(w.Body.String(), `"`)[3]
		if w := c.ask("demo", "DELETE", "/instances/"+id+"?async=true", nil, ""); w.Code != 200 || w.Body.String() != "null\n" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		w = c.ask("demo", "GET", "/instances/"+id, nil, "")
		if !strings.Contains(w.Body.String(), `"state":"created"`) || !strings.Contains(w.Body.String(), `"deletion":{"requested":`) {
			t.Errorf("being deleted it looks like %s", w.Body)
		}
	})
	t.Run("failed", func(t *testing.T) {
		c := newConversation(t)
		c.server.cloud.(*fakeCloud).broken = "no such image: cirros"
		w := c.ask("demo", "POST", "/instances", nil, create)
		if w.Code != 500 || !strings.Contains(w.Body.String(), "no such image: cirros") || !strings.Contains(w.Body.String(), `"class":"failed"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		list := c.ask("demo", "GET", "/instances", nil, "")
		all := c.ask("demo", "GET", "/instances", nil, `{"all": true}`)
		if list.Body.String() != "[]\n" || !strings.Contains(all.Body.String(), `"error":"no such image: cirros"`) {
			t.Errorf("listed as %s and with all as %s", list.Body, all.Body)
		}
	})
	t.Run("the caller hangs up", func(t *testing.T) {
		c := newConversation(t)
		f := c.server.cloud.(*fakeCloud)
		f.hold = true
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "POST", "/instances", strings.NewReader(create))
		r.Header.Set("Authorization", "Bearer "+c.token("demo"))
		w := &silent{header: http.Header{}}
		done := make(chan struct{})
		go func() { c.server.ServeHTTP(w, r); close(done) }()
		for patience := deadline(t); f.count() == 0; {
			if time.Sleep(time.Millisecond); patience.Err() != nil {
				t.Fatal("nothing is created")
			}
		}
		cancel()
		comes(t, "the end of the request", done)
		if w.status != 0 {
			t.Errorf("something was written to a caller who has gone: %d", w.status)
		}
		for _, i := range f.instances {
			if i.Deletion != nil {
				t.Error("hanging up deleted the instance")
			}
		}
	})
}

func (f *fakeCloud) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.instances)
}

// silent is a ResponseWriter that notes whether anything was written.
type silent struct {
	header http.Header
	status int
}

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) WriteHeader(status int)      { s.status = status }
func (s *silent) Write(p []byte) (int, error) { s.status = max(s.status, 200); return len(p), nil }
