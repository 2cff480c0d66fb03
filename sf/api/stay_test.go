package api

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// unsized is a request whose body is of a length that is not told.
func (c *conversation) unsized(ctx context.Context, method, url, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer "+c.token("demo"))
	return r
}

// Who stays for long keeps none of the places that large bodies have: neither who only
// did not say that theirs is small, nor who sent a lot that the path makes superfluous.
func TestWhoStaysTakesNoPlace(t *testing.T) {
	for _, tt := range []struct{ url, body string }{
		{"/events?after=7", "{}"},
		{"/instances/ID?wait=60&version=VERSION", "{}"},
		{"/instances/ID?wait=60&version=VERSION", `{"instance_uuid": "` + strings.Repeat("x", smallBody) + `"}`},
		{"/instances/ID/operations/OP?wait=60", `{"operation_id": "` + strings.Repeat("x", smallBody) + `"}`},
	} {
		t.Run(tt.url, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := withObjects(t)
				f := c.server.cloud.(*fakeCloud)
				f.hold = true
				c.token("demo")
				op, err := f.Reboot(t.Context(), instanceOf(c), true)
				if err != nil {
					t.Fatal(err)
				}
				url := strings.NewReplacer("ID", instanceOf(c), "VERSION", f.instances[instanceOf(c)].Version, "OP", op.ID).Replace(tt.url)
				ctx, hangUp := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for range largeBodies {
					wg.Go(func() { c.server.ServeHTTP(httptest.NewRecorder(), c.unsized(ctx, "GET", url, tt.body)) })
				}
				synctest.Wait()
				soon, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				w := httptest.NewRecorder()
				c.server.ServeHTTP(w, c.unsized(soon, "POST", "/instances?async=1", vm(oneDisk+`, "user_data": "`+strings.Repeat("x", smallBody)+`"`)))
				if !strings.Contains(w.Body.String(), `"uuid"`) {
					t.Errorf("with %d at %s no large body is read: %d %q", largeBodies, url, w.Code, w.Body)
				}
				hangUp()
				wg.Wait()
			})
		})
	}
}

// Every GET that waits ends when the server is to stop.
func TestWaitsEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := withObjects(t)
		f := c.server.cloud.(*fakeCloud)
		f.hold = true
		op, err := f.Reboot(t.Context(), instanceOf(c), true)
		if err != nil {
			t.Fatal(err)
		}
		stopping, stop := context.WithCancel(t.Context())
		c.server.stopping = stopping
		stop()
		one := "/instances/" + instanceOf(c)
		for _, url := range []string{one + "?wait=60&version=" + f.instances[instanceOf(c)].Version, one + "/operations/" + op.ID + "?wait=60"} {
			start := time.Now()
			if w := c.ask("demo", "GET", url, nil, ""); w.Code != 200 || time.Since(start) != 0 {
				t.Errorf("%s: %d after %v: %s", url, w.Code, time.Since(start), w.Body)
			}
		}
	})
}

// Who asks for events from now on, of a cloud that cannot say where that is, is told by
// the status.
func TestEventStreamRefused(t *testing.T) {
	f := newFake()
	c := converse(t, f)
	f.faults["FollowEvents"] = spec.Errorf(spec.ErrUnavailable, "etcd does not answer")
	c.wants("demo", "GET /events", "", 503, `{"error":"etcd does not answer","status":503,"class":"unavailable"}`)
	c.wants("demo", "GET /events?after=3", "", 200, "event: error\ndata: {\"error\":\"etcd does not answer\"")
	stopping, stop := context.WithCancel(t.Context())
	c.server.stopping = stopping
	stop()
	c.server.cloud = slowFollowed{f, func(ctx context.Context) { <-ctx.Done() }}
	c.wants("demo", "GET /events", "", 503, "the server stops")
}

// slowFollowed is a cloud that takes its time to say where now is.
type slowFollowed struct {
	*fakeCloud
	think func(context.Context)
}

func (f slowFollowed) FollowEvents(ctx context.Context, opt sf.FollowOptions) iter.Seq2[*sf.EventBatch, error] {
	return func(yield func(*sf.EventBatch, error) bool) {
		f.think(ctx)
		yield(nil, ctx.Err())
	}
}

// Signs of life are no answer: they come when the stream has begun.
func TestEventStreamIsSilentAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := converse(t, f)
		w := httptest.NewRecorder()
		c.server.cloud = slowFollowed{f, func(context.Context) {
			time.Sleep(3 * heartbeat)
			if synctest.Wait(); w.Flushed {
				t.Errorf("it was answered: %q", w.Body)
			}
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 4*heartbeat)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "/events", nil)
		r.Header.Set("Authorization", "Bearer "+c.token("demo"))
		c.server.ServeHTTP(w, r)
	})
}

// deadlines notes until when an answer may be written.
type deadlines struct {
	*httptest.ResponseRecorder
	last time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.last = t
	return nil
}

// A stream that has ended leaves its connection as it found it: the next request on it is
// not to be cut off by the patience that this one's reader had.
func TestEventStreamLeavesNoDeadline(t *testing.T) {
	f := newFake()
	c := converse(t, f)
	f.faults["FollowEvents"] = spec.Errorf(spec.ErrUnavailable, "etcd does not answer")
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("GET", "/events?after=3", nil)
	r.Header.Set("Authorization", "Bearer "+c.token("demo"))
	c.server.ServeHTTP(w, r)
	if !w.last.IsZero() || !strings.Contains(w.Body.String(), "event: error") {
		t.Errorf("a deadline is left, %v: %q", w.last, w.Body)
	}
}
