package sf_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// setClock is the machine's clock, which somebody sets: what it says jumps, and its
// monotonic reading does not.
type setClock struct {
	reconcile.RealClock
	begin time.Time
	mu    sync.Mutex
	jump  time.Duration
}

// boot is a time with a monotonic reading, which none has in a bubble.
var boot = time.Now()

func (c *setClock) set(forwards time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jump += forwards
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := boot.Add(time.Since(c.begin) + c.jump)
	// There is no other way to have such a time but to set the machine's clock.
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).ext -= int64(c.jump)
	return t
}

func TestSetClock(t *testing.T) {
	c := &setClock{begin: time.Now()}
	was := c.Now()
	for _, jump := range []time.Duration{time.Hour, -3 * time.Hour} {
		before := c.Now()
		c.set(jump)
		now := c.Now()
		if d := now.Sub(before); d < 0 || d > time.Minute {
			t.Errorf("%v later after a jump of %v", d, jump)
		}
		if d := now.Round(0).Sub(before.Round(0)); d < jump-time.Minute || d > jump+time.Minute {
			t.Errorf("on the wall it is %v later after a jump of %v", d, jump)
		}
	}
	if d := c.Now().Sub(was); d < 0 || d > time.Minute {
		t.Errorf("%v later", d)
	}
}

// remote is a store on another machine: its client tells by its own clock until when a session
// surely lives.
type remote struct {
	store.Store
	clock *setClock
}

type remoteSession struct {
	store.Session
	clock *setClock
	ttl   time.Duration
	until time.Time
}

func (r remote) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	sent := r.clock.Now()
	s, err := r.Store.Session(ctx, ttl)
	return &remoteSession{s, r.clock, ttl, sent.Add(ttl - ttl/10)}, err
}

func (s *remoteSession) Renew(ctx context.Context) error {
	sent := s.clock.Now()
	err := s.Session.Renew(ctx)
	if err == nil {
		s.clock.mu.Lock()
		defer s.clock.mu.Unlock()
		s.until = sent.Add(s.ttl - s.ttl/10)
	}
	return err
}

func (s *remoteSession) Deadline() time.Time {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	return s.until
}

// jumping runs test in a bubble on a cloud whose clock can be set, by a day forwards and back.
func jumping(t *testing.T, host fake.Config, test func(t *testing.T, c *sftest.Cloud, jump func())) {
	for name, day := range map[string]time.Duration{"forwards": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := &setClock{begin: time.Now()}
				host.Now = clock.Now
				c := sftest.NewWith(t, host, func(cfg *sf.Config) {
					server := &setClock{begin: clock.begin} // the store's is another, which nobody sets
					cfg.Clock, cfg.Store = clock, remote{memory.New(memory.Config{Now: server.Now}), clock}
				})
				test(t, c, func() { clock.set(day) })
			})
		})
	}
}

// A reboot that a guest ignores takes its five minutes, whatever the clock is set to meanwhile.
func TestClockIsSetDuringReboot(t *testing.T) {
	deaf := fake.Config{Guest: func(driver.Spec) fake.Guest { return fake.Guest{IgnoresPower: true} }}
	jumping(t, deaf, func(t *testing.T, c *sftest.Cloud, jump func()) {
		ctx := t.Context()
		i := newInstance(t, c, small("one"))
		start := time.Now()
		op, err := c.Reboot(ctx, i.UUID, false)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		jump()
		_, err = c.WaitOperation(ctx, op)
		if took := time.Since(start).Round(10 * time.Second); !errors.Is(err, sf.ErrFailed) || took != 5*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// One that waits for its turn has its time counted, too.
func TestClockIsSetBeforeItsTurn(t *testing.T) {
	deaf := fake.Config{Guest: func(driver.Spec) fake.Guest { return fake.Guest{IgnoresPower: true} }}
	jumping(t, deaf, func(t *testing.T, c *sftest.Cloud, jump func()) {
		ctx := t.Context()
		i := newInstance(t, c, small("one"))
		first, err := c.Reboot(ctx, i.UUID, false)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		second, err := c.Reboot(ctx, i.UUID, true)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		jump()
		if _, err := c.WaitOperation(ctx, first); !errors.Is(err, sf.ErrFailed) {
			t.Errorf("the first: %v", err)
		}
		if op, err := c.WaitOperation(ctx, second); err != nil || op.Status.State != spec.OperationDone {
			t.Errorf("the second, which had a minute left: %+v, %v", op, err)
		}
	})
}

// An image that cannot be had is tried for for ten minutes, whatever the clock is set to meanwhile.
func TestClockIsSetDuringTrouble(t *testing.T) {
	jumping(t, fake.Config{}, func(t *testing.T, c *sftest.Cloud, jump func()) {
		ctx := t.Context()
		c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Err: errors.New("no route")})
		start := time.Now()
		i, err := c.CreateInstance(ctx, sf.System, small("one"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		jump()
		_, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		if took := time.Since(start).Round(time.Minute); !errors.Is(err, sf.ErrFailed) || took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// A node whose clock is set back goes on renewing its session, and has it.
func TestClockIsSetBack(t *testing.T) {
	jumping(t, fake.Config{}, func(t *testing.T, c *sftest.Cloud, jump func()) {
		ctx := t.Context()
		time.Sleep(time.Minute)
		jump()
		time.Sleep(time.Hour)
		nodes, err := c.Nodes(ctx)
		if err != nil || !nodes[0].Live || !c.Renewing() {
			t.Errorf("%+v, %v", nodes, err)
		}
		newInstance(t, c, small("one"))
	})
}
