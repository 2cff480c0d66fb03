package etcd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/storetest"
)

// clustered are the releases that clusters are tried with: the oldest and the newest.
var clustered = []string{"3.4", "3.6"}

// The leader is killed, paused and cut off while a load goes on, which goes on with
// the others, and nothing of what it was told proves wrong.
func TestLeaderFails(t *testing.T) {
	for _, release := range clustered {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, release)
			// Debian's etcd 3.4.23 may end sessions early after a pause; see the package's documentation.
			l := startLoad(t, c, release == "3.4")
			l.progress(20)
			for _, f := range faults {
				m := c.strike(f)
				l.progress(10)
				c.heal(f, m)
				l.progress(20)
			}
			l.end(mustOpen(t, c.config()))
		})
	}
}

// Without a majority every call ends by itself, says why, and works again afterwards.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	c := startCluster(t, "3.6")
	s := mustOpen(t, c.config())
	x, err := s.Session(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", nil)
	w := watch(t, s, "k", newest(t, s))
	paused := c.members[:2]
	for _, m := range paused {
		faults[1].harm(t, m)
	}
	forever := context.Background()
	for name, call := range map[string]func() error{
		"get":     func() error { _, err := s.Get(forever, "k"); return err },
		"list":    func() error { _, err := s.List(forever, "", store.Page{}); return err },
		"check":   func() error { _, err := s.Commit(forever, store.Txn{If: []store.Cond{store.Exists("k")}}); return err },
		"commit":  func() error { _, err := s.Commit(forever, store.Txn{Do: []store.Op{store.Put("l", nil)}}); return err },
		"session": func() error { _, err := s.Session(forever, time.Hour); return err },
		"renew":   func() error { return x.Renew(forever) },
		"close":   func() error { return x.Close(forever) },
		"compact": func() error { return s.Compact(forever, 1) },
		"open":    func() error { _, err := Open(forever, c.config()); return err },
	} {
		if err := call(); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrNoAnswer", name, err)
		}
	}
	for _, m := range paused {
		faults[1].fix(t, m)
	}
	c.whole()
	r := retry(t, func(ctx context.Context) (store.Revision, error) {
		return s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", []byte("again"))}})
	})
	for b := events(t, w); b.Revision != r; b = events(t, w) {
		if b.Revision > r {
			t.Fatalf("the watch is at %d and has not shown %d", b.Revision, r)
		}
	}
}

// The suite passes on a cluster whose leader fails again and again, in each way. It
// fails once the store is open, so that connections to it stand, and stays so for some cases.
func TestConformanceWhileLeaderFails(t *testing.T) {
	for _, release := range clustered {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, release)
			heal := func() {}
			cases, strikes := 0, 0
			storetest.Run(t, storetest.Config{
				Open: func(t *testing.T) store.Store {
					config := c.config()
					// What a broken member still has of earlier cases, it may carry out later.
					config.Prefix = t.Name() + "/"
					if cases++; cases%6 != 0 {
						return insistent{mustOpen(t, config)}
					}
					heal()
					s := mustOpen(t, config)
					f := faults[strikes%len(faults)]
					m := c.strike(f)
					heal = func() { c.heal(f, m) }
					strikes++
					return insistent{s}
				},
				Reopen: func(t *testing.T, s store.Store) store.Store {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					config := c.config()
					config.Prefix = t.Name() + "/"
					return insistent{mustOpen(t, config)}
				},
			})
			if strikes < 2*len(faults) {
				t.Errorf("the leader failed %d times only", strikes)
			}
		})
	}
}

// insistent asks again what is not answered, as callers do: a busy machine is slow as well.
// It commits again what has an unknown outcome. Here it may do so under
// any conditions: a member that does not answer is broken, and will have nothing to say before
// the case is over.
type insistent struct{ store.Store }

func (s insistent) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	return insist(ctx, func() (store.Revision, error) { return s.Store.Commit(ctx, txn) })
}

func (s insistent) Get(ctx context.Context, key string) (store.Record, error) {
	return insist(ctx, func() (store.Record, error) { return s.Store.Get(ctx, key) })
}

func (s insistent) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	return insist(ctx, func() (store.List, error) { return s.Store.List(ctx, prefix, page) })
}

func insist[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for {
		v, err := ask()
		if ctx.Err() != nil || !errors.Is(err, ErrNoAnswer) {
			return v, err
		}
	}
}
