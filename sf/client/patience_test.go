package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// tripper answers requests without a network, so that time can be the bubble's.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func reply(kind, body string) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// silent never answers.
func silent(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func patient(t *testing.T, f tripper) *Client {
	t.Helper()
	c, err := New(Config{Namespace: "n", Key: "k", HTTP: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// soon returns what a goroutine has to say, or fails where it is stuck.
func soon[T any](t *testing.T, said <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-said:
	case <-time.After(10 * time.Second):
		t.Error("it waits for somebody else")
	}
	return v
}

// A caller who waits for another's login to a server that does not answer waits no longer
// than they care to.
func TestLoginOfAnother(t *testing.T) {
	asked, ended := make(chan bool, 1), make(chan error, 1)
	c := patient(t, func(r *http.Request) (*http.Response, error) {
		asked <- true
		return silent(r)
	})
	first, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Instance(first, "u")
	soon(t, asked)
	second, hangUp := context.WithCancel(t.Context())
	go func() { _, err := c.Instance(second, "u"); ended <- err }()
	hangUp()
	if err := soon(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the second ended by %v", err)
	}
}

// Who has a token does not wait for somebody else's new one.
func TestTokenWhileAnotherLogsIn(t *testing.T) {
	asked, token := make(chan bool, 1), make(chan string, 1)
	c := patient(t, func(r *http.Request) (*http.Response, error) {
		asked <- true
		return silent(r)
	})
	c.token = "good"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.authorize(ctx, "good") // a server has refused it
	soon(t, asked)
	go func() { have, _ := c.authorize(t.Context(), ""); token <- have }()
	if have := soon(t, token); have != "good" {
		t.Errorf("got %q", have)
	}
}

// A server that takes the connection and says nothing is as good as none: at first that
// is an error, later a reason to try again.
func TestFollowASilentServer(t *testing.T) {
	for _, opened := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			c := patient(t, func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/auth" {
					return reply("application/json", `{"access_token": "t"}`)
				}
				if asked++; asked == 1 && opened {
					return reply("text/event-stream", "id: 1\n\n")
				}
				return silent(r)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			var last error
			for _, err := range c.FollowEvents(ctx, spec.FollowOptions{}) {
				last = err
			}
			if !errors.Is(last, spec.ErrUnavailable) || opened != (asked == followAttempts) {
				t.Errorf("opened %t: after %d requests %v", opened, asked, last)
			}
		})
	}
}

// Reading nothing is not reading on.
func TestDownloadOfNothing(t *testing.T) {
	if n, err := (&Download{size: 5, body: io.NopCloser(strings.NewReader("12345"))}).Read(nil); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// A server that does not wait with the answer, since it is to stop, is not asked again
// without a pause.
func TestWaitOperationPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := patient(t, func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/auth" {
				return reply("application/json", `{"access_token": "t"}`)
			}
			if asked++; asked > 1000 {
				t.Fatal("it is asked all the time")
			}
			return reply("application/json", `{"id": "op", "kind": "reboot", "state": "started"}`)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		op := &spec.Operation{ID: "op", Instance: "u", Kind: spec.OpReboot, Status: spec.OperationStatus{State: spec.OperationStarted}}
		if _, err := c.WaitOperation(ctx, op, nil); !errors.Is(err, spec.ErrTimeout) || asked < 10 {
			t.Errorf("after %d requests: %v", asked, err)
		}
	})
}
