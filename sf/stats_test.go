package sf_test

import (
	"context"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// TestStats holds that what a cloud does is counted, and what it waits for is seen.
func TestStats(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	arrive := make(chan struct{})
	c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Wait: func(ctx context.Context) error {
		select {
		case <-arrive:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	before := c.Stats()
	if before.Node == nil || before.Node.Name != "node1" || before.Store.Commits == 0 || before.Store.Watches < 3 || len(before.Node.Queues) != 3 {
		t.Fatalf("at first: %+v", before)
	}
	i, err := c.CreateInstance(ctx, sf.System, small("one"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, c, "its image is waited for", func(s sf.Stats) bool {
		return s.Node.Waits["its image"] == 1 && s.Node.Fetching == 1 && s.Node.Instances == 1 && s.Node.Queues["transfers"].Running == 1
	})
	close(arrive)
	if _, err := c.WaitInstance(ctx, i.UUID, sf.InstanceCreated); err != nil {
		t.Fatal(err)
	}
	until(t, c, "nothing is waited for", func(s sf.Stats) bool { return len(s.Node.Waits) == 0 && s.Node.Fetching == 0 })
	after := c.Stats()
	if w := after.Node.Work["instance"]; w.Took.Count == 0 || w.Took.Within[len(w.Took.Within)-1] != w.Took.Count {
		t.Errorf("work on instances: %+v", w)
	}
	if after.Store.Commits <= before.Store.Commits || after.Store.Events == 0 || after.Store.Gets == 0 || after.Records.Entries == 0 || after.Records.Bytes == 0 {
		t.Errorf("the store: %+v, records %+v", after.Store, after.Records)
	}
	c.Host.Heal()
	c.Host.Fault(fake.Fault{Method: "Destroy", Err: context.DeadlineExceeded})
	if err := c.DeleteInstance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	until(t, c, "a failure is seen", func(s sf.Stats) bool { return s.Node.Failing == 1 && s.Node.Work["instance"].Failed > 0 })
	c.Host.Heal()
	if _, err := c.WaitInstance(ctx, i.UUID, sf.InstanceGone); err != nil {
		t.Fatal(err)
	}
	until(t, c, "the instance is forgotten", func(s sf.Stats) bool { return s.Node.Failing == 0 && s.Node.Instances == 0 })
}

// until looks at the measurements again and again.
func until(t *testing.T, c *cloud, what string, holds func(sf.Stats) bool) {
	t.Helper()
	for ctx := sftest.Context(t); !holds(c.Stats()); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("it does not come to it that %s: %+v", what, c.Stats().Node)
		}
	}
}
