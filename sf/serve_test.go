package sf_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/sftest"
)

// framed is a fabric with frames, of which none ever comes, and that can break.
type framed struct {
	netfab.Fabric
	broken                       atomic.Bool
	brief                        atomic.Bool // frames end at once
	ends                         func()      // called when a server hangs up; nil for nothing
	tried, opened, hungUp, ended atomic.Int64

	mu  sync.Mutex
	cut func() // ends the frames that were opened last
}

func (f *framed) Apply(ctx context.Context, want netfab.Desired) error {
	err := f.Fabric.Apply(ctx, want)
	if !f.broken.Load() {
		return err
	}
	f.tried.Add(1)
	for _, n := range want.Networks {
		err = errors.Join(err, &netfab.NetworkError{Network: n.ID, Err: errors.New("the kernel refuses")})
	}
	return err
}

func (f *framed) end() {
	if f.ends != nil {
		f.ends()
	}
}

func (f *framed) Frames(context.Context, string) (io.ReadWriteCloser, error) {
	ended := make(chan struct{})
	cut := sync.OnceFunc(func() { close(ended) })
	if f.opened.Add(1) < 10_000 && f.brief.Load() { // who comes so often has shown it
		f.ended.Add(1)
		cut()
	}
	f.mu.Lock()
	f.cut = cut
	f.mu.Unlock()
	return &frames{f: f, ended: ended, hangUp: sync.OnceFunc(func() { f.hungUp.Add(1); f.end(); cut() })}, nil
}

type frames struct {
	f      *framed
	ended  chan struct{}
	hangUp func()
}

func (c *frames) Read([]byte) (int, error)    { <-c.ended; return 0, io.EOF }
func (c *frames) Write(p []byte) (int, error) { return len(p), nil }
func (c *frames) Close() error                { c.hangUp(); return nil }

// Stopping a server, which may take as long as the fabric is busy, keeps nobody waiting who
// only asks the agent something.
func TestStoppingAServerHoldsNothing(t *testing.T) {
	f, stopping, stop := &framed{}, make(chan struct{}), make(chan struct{})
	f.ends = sync.OnceFunc(func() { close(stopping); <-stop })
	c := cloudOver(t, f, &f.Fabric)
	n := newNetwork(t, c, "10.0.0.0/24")
	if err := c.DeleteNetwork(t.Context(), n.UUID); err != nil {
		t.Fatal(err)
	}
	defer close(stop)
	asked := make(chan struct{})
	select {
	case <-stopping:
	case <-sftest.Context(t).Done():
		t.Fatal("the server is not stopped")
	}
	go func() { c.Renewing(); close(asked) }()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Error("the agent does not answer")
	}
}

// Guests renew their leases although the fabric fails to change something of their network.
func TestServesOnWhereTheFabricFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &framed{}
		c := cloudOver(t, f, &f.Fabric)
		newNetwork(t, c, "10.0.0.0/24")
		f.broken.Store(true)
		time.Sleep(5 * time.Minute)
		if f.tried.Load() < 2 || f.opened.Load() != 1 || f.hungUp.Load() != 0 {
			t.Errorf("after %d tries the server was started %d and stopped %d times", f.tried.Load(), f.opened.Load(), f.hungUp.Load())
		}
		f.broken.Store(false)
		time.Sleep(time.Minute)
		if f.opened.Load() != 1 {
			t.Errorf("it was started %d times", f.opened.Load())
		}
	})
}

// A server that ends, and so do all after it, is started less and less often, and within
// seconds where another would work.
func TestServersThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &framed{}
		f.brief.Store(true)
		c := cloudOver(t, f, &f.Fabric)
		newNetwork(t, c, "10.0.0.0/24")
		time.Sleep(10 * time.Minute)
		if n := f.opened.Load(); n < 60 || n > 150 {
			t.Errorf("within ten minutes it was started %d times", n)
		}
		f.brief.Store(false)
		time.Sleep(6 * time.Second)
		n := f.opened.Load()
		if time.Sleep(10 * time.Minute); f.opened.Load() != n || n == f.ended.Load() {
			t.Errorf("%d were started, %d ended, and %d were started since", n, f.ended.Load(), f.opened.Load()-n)
		}
		// What worked and ends is followed at once.
		f.mu.Lock()
		f.cut()
		f.mu.Unlock()
		if synctest.Wait(); f.opened.Load() != n+1 {
			t.Error("no other was started at once")
		}
	})
}
