package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// crowd is how many clients come at once.
const crowd = 500

// TestManyClients has many clients log in, create, read and list at once over real
// connections: each is served, none refused.
func TestManyClients(t *testing.T) {
	c := withObjects(t)
	h := httptest.NewServer(c.server)
	defer h.Close()
	h.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = crowd
	token, ctx := c.token("demo"), deadline(t)
	ask := func(method, url, body string) error {
		r, err := http.NewRequestWithContext(ctx, method, h.URL+url, strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		w, err := h.Client().Do(r)
		if err != nil {
			return err
		}
		defer w.Body.Close()
		text, err := io.ReadAll(w.Body)
		if w.StatusCode != 200 {
			err = fmt.Errorf("%s %s: %s %s", method, url, w.Status, text)
		}
		return err
	}
	one := concrete(c, "/instances/{instance_uuid}")
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			err := errors.Join(
				ask("POST", "/auth", `{"namespace": "demo", "key": "secret-of-demo"}`),
				ask("POST", "/instances", vm(oneDisk)),
				ask("GET", one, ""),
				ask("GET", "/instances?limit=10", ""),
			)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// slowBody is a body of which half is there, and the rest when told so.
type slowBody struct {
	io.Reader
	rest chan struct{}
	tail io.Reader
}

func (b *slowBody) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); err != io.EOF {
		return n, err
	}
	<-b.rest
	return b.tail.Read(p)
}

// Who has not said who they are takes no place of those that large bodies have, however
// slowly they send: a body of theirs is a small one.
func TestStrangersTakeNoPlaces(t *testing.T) {
	c := withObjects(t)
	h := httptest.NewServer(c.server)
	defer h.Close()
	for range largeBodies {
		conn, err := net.Dial("tcp", h.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "POST /auth HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n') // comes when the body is to be read
		if err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	c.server.bodies.mu.Lock()
	defer c.server.bodies.mu.Unlock()
	if n := len(c.server.bodies.keys); n != 0 {
		t.Errorf("they have the places of others: %d", n)
	}
}

// TestManyLargeBodies has many clients send the largest bodies at once, and none to
// the end: only so many are held, the others wait and are served then.
func TestManyLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConversation(t)
		token := c.token("demo")
		rest := make(chan struct{})
		half := bytes.Repeat([]byte(" "), 1<<20)
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var wg sync.WaitGroup
		for range 10 * largeBodies {
			wg.Go(func() {
				body := &slowBody{bytes.NewReader(half), rest, strings.NewReader(vm(oneDisk))}
				r := httptest.NewRequest("POST", "/instances", body)
				r.ContentLength = -1
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				if c.server.ServeHTTP(w, r); w.Code != 200 {
					t.Error(w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		runtime.GC()
		runtime.ReadMemStats(&during)
		if held := int64(during.HeapAlloc) - int64(before.HeapAlloc); held > largeBodies*4<<20 {
			t.Errorf("the clients hold %d MiB", held>>20)
		}
		close(rest)
		wg.Wait()
	})
}

// slowLogin is a cloud that takes until it is open to check a secret.
type slowLogin struct {
	*fakeCloud
	open chan struct{}

	checking sync.Mutex
	now      int
}

func (f *slowLogin) Authenticate(ctx context.Context, namespace, secret string) (*spec.Key, error) {
	f.checking.Lock()
	f.now++
	f.checking.Unlock()
	<-f.open
	return f.fakeCloud.Authenticate(ctx, namespace, secret)
}

func (f *slowLogin) inside() int {
	f.checking.Lock()
	defer f.checking.Unlock()
	return f.now
}

// TestLoginsQueue has many clients of one address log in: few are looked at at a
// time, one of another address does not wait for them, and all get in.
func TestLoginsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowLogin{fakeCloud: newFake(), open: make(chan struct{})}
		c := converse(t, f)
		login := func(from string) int {
			r := httptest.NewRequest("POST", "/auth", strings.NewReader(`{"namespace": "demo", "key": "secret-of-demo"}`))
			r.RemoteAddr = from + ":1"
			w := httptest.NewRecorder()
			c.server.ServeHTTP(w, r)
			return w.Code
		}
		var wg sync.WaitGroup
		for range crowd {
			wg.Go(func() {
				if status := login("192.0.2.1"); status != 200 {
					t.Error(status)
				}
			})
		}
		synctest.Wait()
		wg.Go(func() {
			if status := login("192.0.2.2"); status != 200 {
				t.Error(status)
			}
		})
		synctest.Wait()
		if n := f.inside(); n != loginsEach+1 {
			t.Errorf("%d logins are looked at, want %d of one address and one of another", n, loginsEach)
		}
		close(f.open)
		wg.Wait()
		if len(c.server.logins.keys) != 0 {
			t.Errorf("%d addresses are remembered", len(c.server.logins.keys))
		}
	})
}

// TestDeleteAllWaitsOnce deletes many instances that don't go: the request is over
// after the time of one.
func TestDeleteAllWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConversation(t)
		for range 20 {
			c.makes("demo", "POST /instances", vm(oneDisk))
		}
		c.server.cloud.(*fakeCloud).hold = true
		start := time.Now()
		c.wants("demo", "DELETE /instances", `{"confirm": true}`, 504, "is not deleted after 10m0s")
		if took := time.Since(start); took != c.server.Timeout {
			t.Errorf("it took %v", took)
		}
	})
}
