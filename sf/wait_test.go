package sf_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
)

// waiting begins a wait, and returns how it ended once it has been let on.
func waiting(t *testing.T, wait func(context.Context) error) (ended func() error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- wait(ctx) }()
	synctest.Wait() // until there is nothing but to wait
	return func() error {
		synctest.Wait()
		cancel(nil)
		return <-done
	}
}

// Whoever waits for something that a call has decided hears of that at once, though the
// node that could report anything is away.
func TestWaitsHearOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sftest.NewWith(t, fake.Config{Now: time.Now})
		ctx := t.Context()
		n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/24"})
		if err != nil {
			t.Fatal(err)
		}
		c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Hang: true})
		i, err := c.CreateInstance(ctx, sf.System, small("one"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := c.Cloud.Close(); err != nil {
			t.Fatal(err)
		}
		head, err := sf.Open(ctx, sf.Config{Store: c.Store})
		if err != nil {
			t.Fatal(err)
		}
		deleted := func(n *sf.Network) (bool, error) { return n.Status.State == sf.StateDeleting, nil }
		network := waiting(t, func(ctx context.Context) error { _, err := head.WaitNetwork(ctx, n.UUID, deleted); return err })
		created := waiting(t, func(ctx context.Context) error {
			_, err := head.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
			return err
		})
		gone := waiting(t, func(ctx context.Context) error { _, err := head.WaitInstance(ctx, i.UUID, sf.InstanceGone); return err })
		if err := head.DeleteNetwork(ctx, n.UUID); err != nil {
			t.Fatal(err)
		}
		if err := network(); err != nil {
			t.Errorf("waiting for the network's end: %v", err)
		}
		if err := head.DeleteInstance(ctx, i.UUID); err != nil {
			t.Fatal(err)
		}
		if err := created(); !errors.Is(err, sf.ErrNotFound) {
			t.Errorf("waiting for what was deleted to be created: %v", err)
		}
		if err := head.ForceDeleteInstance(ctx, i.UUID); err != nil {
			t.Fatal(err)
		}
		if err := gone(); err != nil {
			t.Errorf("waiting for what was deleted by force to be gone: %v", err)
		}
	})
}

// What happens between the call of Watch and the first look at what it returns is not
// missed, so that a list in between leaves no gap.
func TestWatchBeginsWithItsCall(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	changes := c.Watch(ctx, sf.KindNetwork)
	n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	c.ComeToRest(t)
	for id, err := range changes {
		if err != nil || id != n.UUID {
			t.Errorf("%q, %v", id, err)
		}
		break
	}
	if err := c.Store.Compact(ctx, revision(t, c)); err != nil {
		t.Fatal(err)
	}
	for id, err := range changes {
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("from what is forgotten: %q, %v", id, err)
		}
	}
	for id, err := range c.Watch(ctx, sf.KindNode) {
		if !errors.Is(err, sf.ErrInvalid) {
			t.Errorf("nodes: %q, %v", id, err)
		}
	}
}

func revision(t *testing.T, c *sftest.Cloud) store.Revision {
	t.Helper()
	l, err := c.Store.List(t.Context(), "", store.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return l.Revision
}
