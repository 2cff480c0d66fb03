package sf_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
)

// stuck is a store that is not done with writing some keys.
type stuck struct {
	store.Store
	prefix string
}

func (s stuck) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	for _, op := range t.Do {
		if strings.HasPrefix(op.Key, s.prefix) {
			<-ctx.Done()
			return 0, store.ErrUnknownOutcome
		}
	}
	return s.Store.Commit(ctx, t)
}

// A node whose notes of itself are not written, while its session is renewed, as by an
// etcd with a slow disk, goes on to renew it.
func TestSessionDoesNotWaitForNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sftest.NewWith(t, fake.Config{Now: time.Now}, func(cfg *sf.Config) {
			cfg.Store = stuck{cfg.Store, record.NodeSeenKey("")}
		})
		for range 60 {
			time.Sleep(time.Second)
			nodes, err := c.Nodes(t.Context())
			if err != nil || len(nodes) != 1 || !nodes[0].Live {
				t.Fatalf("it counts as gone: %+v, %v", nodes, err)
			}
		}
	})
}

// away is a store that, once it is away, lets nobody renew a session: each try takes as long
// as one of an etcd whose machines are off.
type away struct {
	store.Store
	gone *atomic.Bool
}

func (a away) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	s, err := a.Store.Session(ctx, ttl)
	return awaySession{s, a.gone}, err
}

type awaySession struct {
	store.Session
	gone *atomic.Bool
}

func (s awaySession) Renew(ctx context.Context) error {
	if !s.gone.Load() {
		return s.Session.Renew(ctx)
	}
	select {
	case <-time.After(6 * time.Second):
		return errors.New("etcd does not answer within 6s")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slowPeers are the other nodes, which are without the store too and take their time to say
// so, or say nothing.
type slowPeers struct{ silent bool }

func (p slowPeers) Renewing(_ context.Context, nodes []string) map[string]bool {
	time.Sleep(2 * time.Second)
	said := map[string]bool{}
	for _, n := range nodes {
		if !p.silent {
			said[n] = false
		}
	}
	return said
}

// kept is a fabric whose routers are to be kept, and that notes for how long they were not.
type kept struct {
	netfab.Fabric
	mu     sync.Mutex
	until  time.Time
	lapsed []time.Duration
}

func (k *kept) Keep(_ context.Context, d time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if gap := time.Since(k.until); !k.until.IsZero() && gap > 0 {
		k.lapsed = append(k.lapsed, gap)
	}
	k.until = time.Now().Add(d)
	return nil
}

// withoutStore is a node of two that is without the store from a moment on, and what its
// routers are told.
func withoutStore(t *testing.T, others slowPeers) (f *kept, goes time.Time) {
	t.Helper()
	var gone atomic.Bool
	f = &kept{}
	c := sftest.NewWith(t, fake.Config{Now: time.Now}, func(cfg *sf.Config) {
		cfg.Store = away{cfg.Store, &gone}
		f.Fabric = cfg.Node.Fabric
		cfg.Node.Fabric, cfg.Node.Address, cfg.Node.Peers = f, netip.MustParseAddr("10.64.0.1"), others
	})
	other := store.Put(record.NodeKey("node2"), []byte(`{"name": "node2", "address": "10.64.0.2"}`))
	if _, err := c.Store.Commit(t.Context(), store.Txn{Do: []store.Op{other}}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	gone.Store(true)
	goes = time.Now()
	time.Sleep(10 * time.Minute)
	nodes, err := c.Nodes(t.Context())
	if err != nil || nodes[0].Live {
		t.Errorf("the session has outlived it: %+v, %v", nodes, err)
	}
	f.mu.Lock()
	return f, goes
}

// Routers go on without a moment's stop while the store is away for all, however long it
// takes to find out again that it is.
func TestRoutersDoNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := withoutStore(t, slowPeers{})
		defer f.mu.Unlock()
		if len(f.lapsed) > 0 || time.Now().After(f.until) {
			t.Errorf("%d times nothing kept them, for %v", len(f.lapsed), f.lapsed[:min(3, len(f.lapsed))])
		}
	})
}

// Routers of a node that nobody answers stop with its session, however long it has asked.
func TestRoutersStopWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, goes := withoutStore(t, slowPeers{silent: true})
		defer f.mu.Unlock()
		if after := f.until.Sub(goes); after > 15*time.Second*9/10 {
			t.Errorf("they go on for %v after the last renewal at most", after)
		}
	})
}
