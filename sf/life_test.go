package sf_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
)

// cloud is a simulated cloud with what these tests ask of it.
type cloud = sftest.Cloud

func deleteInstance(t *testing.T, c *cloud, id string) {
	t.Helper()
	ctx := sftest.Context(t)
	if err := c.DeleteInstance(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitInstance(ctx, id, sf.InstanceGone); err != nil {
		t.Fatal(err)
	}
}

func TestErrorHasTheCause(t *testing.T) {
	c := sftest.NewWith(t, fake.Config{Image: func(ref driver.ImageRef) (driver.Image, error) {
		return driver.Image{}, fmt.Errorf("no image at %s: %w", ref.Name, driver.ErrPermanent)
	}})
	ctx := sftest.Context(t)
	i, err := c.CreateInstance(ctx, sf.System, small("one"))
	if err != nil {
		t.Fatal(err)
	}
	i, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
	if !errors.Is(err, sf.ErrFailed) || !strings.Contains(err.Error(), "no image at http://images/a") {
		t.Fatalf("%v", err)
	}
	if i.Status.State != sf.StateError {
		t.Errorf("state %s", i.Status.State)
	}
	if all, _, _ := c.Instances(ctx, sf.ListOptions{}); len(all) != 0 {
		t.Error("an instance in error is listed without All")
	}
	if all, _, _ := c.Instances(ctx, sf.ListOptions{All: true}); len(all) != 1 {
		t.Error("an instance in error is not listed with All")
	}
	deleteInstance(t, c, i.UUID)
	c.ComeToRest(t)
}

// A wait that lasts says what it is for, and a caller that gives up is told.
func TestWaitsAreVisible(t *testing.T) {
	c := sftest.New(t)
	c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Err: errors.New("connection refused")})
	i, err := c.CreateInstance(sftest.Context(t), sf.System, small("one"))
	if err != nil {
		t.Fatal(err)
	}
	waits := func(i *sf.Instance) (bool, error) {
		return i.Status.Wait != nil && i.Status.Wait.Attempts >= 2, nil
	}
	i, err = c.WaitInstance(sftest.Context(t), i.UUID, waits)
	if err != nil {
		t.Fatal(err)
	}
	if w := i.Status.Wait; !strings.Contains(w.Reason, "connection refused") || w.Since.IsZero() || w.Next.IsZero() {
		t.Errorf("%+v", w)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
	if !errors.Is(err, sf.ErrTimeout) || !strings.Contains(err.Error(), "still creating, waiting for") {
		t.Errorf("%v", err)
	}
	c.Host.Heal()
	if _, err := c.WaitInstance(sftest.Context(t), i.UUID, sf.InstanceCreated); err != nil {
		t.Error(err)
	}
}

// A download that hangs does not keep a deletion waiting.
func TestDeleteDuringDownload(t *testing.T) {
	c := sftest.New(t)
	c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Hang: true})
	i, err := c.CreateInstance(sftest.Context(t), sf.System, small("one"))
	if err != nil {
		t.Fatal(err)
	}
	waits := func(i *sf.Instance) (bool, error) { return i.Status.Wait != nil, nil }
	if _, err := c.WaitInstance(sftest.Context(t), i.UUID, waits); err != nil {
		t.Fatal(err)
	}
	// Said before it is done: nothing in the instance changes when the download begins.
	eventually(t, "the download begins", func() bool { return c.Host.Calls("Volumes.Fetch") > 0 })
	deleteInstance(t, c, i.UUID)
	c.ComeToRest(t)
}

func TestStalledMachineSaysSo(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	c.Host.Fill()
	i, err := c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) { return i.Status.Wait != nil, nil })
	if err != nil || i.Status.Power != sf.PowerOn {
		t.Fatalf("%+v, %v", i.Status, err)
	}
	c.Host.MakeRoom()
	if _, err := c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) { return i.Status.Wait == nil, nil }); err != nil {
		t.Fatal(err)
	}
}

// A daemon that comes back finds its machines and leaves them alone; one that was
// off stays off, also after the host itself went down.
func TestRestart(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	on := newInstance(t, c, small("on", sf.InterfaceSpec{Network: n.UUID}))
	off := newInstance(t, c, small("off"))
	i, err := c.SetPower(ctx, off.UUID, sf.PowerOff)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitInstance(ctx, off.UUID, sf.PowerSettled(i.Power.Generation)); err != nil {
		t.Fatal(err)
	}
	before, err := c.Host.Hypervisor().Inspect(ctx, on.UUID)
	if err != nil {
		t.Fatal(err)
	}
	for round, reboot := range []bool{false, true} {
		if err := c.Cloud.Close(); err != nil {
			t.Fatal(err)
		}
		if reboot {
			c.Host.Reboot()
		}
		node := *c.Config.Node
		node.Hypervisor, node.Volumes = c.Host.Hypervisor(), c.Host.Volumes()
		node.Fabric = fabric.New(fabric.Config{Host: c.Fabric, Tag: "sftest/node1"})
		c.Config.Node = &node
		if c.Cloud, err = sf.Open(ctx, c.Config); err != nil {
			t.Fatal(err)
		}
		c.ComeToRest(t)
		m, err := c.Host.Hypervisor().Inspect(ctx, on.UUID)
		if err != nil || m.State != driver.Running || m.Boot != before.Boot+int64(round) {
			t.Errorf("reboot %v: %+v, %v; before %+v", reboot, m, err, before)
		}
		if m, err := c.Host.Hypervisor().Inspect(ctx, off.UUID); err != nil || m.State.On() {
			t.Errorf("reboot %v: the one that was off is %+v, %v", reboot, m, err)
		}
	}
}

func TestConsoleAndTrigger(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	prompts := func() int {
		events, err := c.Events(ctx, sf.KindInstance, i.UUID)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range events {
			if e.Operation == "trigger" && e.Message == "login prompt" {
				n += max(e.Count, 1)
			}
		}
		return n
	}
	eventually(t, "the login prompt", func() bool { return prompts() == 1 })
	if err := c.Host.Print(i.UUID, "Last login: yesterday\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.Host.Print(i.UUID, "\nhost log"); err != nil {
		t.Fatal(err)
	}
	if err := c.Host.Print(i.UUID, "in: "); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second login prompt", func() bool { return prompts() == 2 })
	log, err := c.ConsoleLog(ctx, i.UUID, 6)
	if err != nil || string(log) != "ogin: " {
		t.Errorf("%q, %v", log, err)
	}
	con, err := c.Console(ctx, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	defer con.Close()
	if _, err := con.Write([]byte("root\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was typed", func() bool { return c.Host.Typed(i.UUID) == "root\n" })
}

// forgetful is a store that does not write some values the first time.
type forgetful struct {
	store.Store
	text string
	once *sync.Once
}

func (f forgetful) Commit(ctx context.Context, t store.Txn) (rev store.Revision, err error) {
	for _, op := range t.Do {
		if strings.Contains(string(op.Value), f.text) {
			f.once.Do(func() { err = errors.New("no space") })
		}
	}
	if err != nil {
		return 0, err
	}
	return f.Store.Commit(ctx, t)
}

// A login prompt is told although the store could not take it when it was read.
func TestPromptIsToldLater(t *testing.T) {
	c := sftest.NewWith(t, fake.Config{Now: time.Now}, func(cfg *sf.Config) {
		cfg.Store = forgetful{cfg.Store, "login prompt", new(sync.Once)}
	})
	i := newInstance(t, c, small("one"))
	eventually(t, "the login prompt", func() bool {
		events, err := c.Events(sftest.Context(t), sf.KindInstance, i.UUID)
		return err == nil && slices.ContainsFunc(events, func(e *sf.Event) bool { return e.Message == "login prompt" })
	})
}

// An image that was removed between its download and the making of the disks, which may
// have to wait for long, is fetched again.
func TestImageRemovedBeforeBuild(t *testing.T) {
	var c *cloud
	hook := func(ctx context.Context, call fake.Call) error {
		if call.Method != "Volumes.Build" || call.Done || call.N != 1 {
			return nil
		}
		list, err := c.Images(ctx)
		for _, img := range list {
			err = errors.Join(err, c.DeleteImage(ctx, img.ID))
		}
		return err
	}
	c = sftest.NewWith(t, fake.Config{Now: time.Now, Hook: hook})
	newInstance(t, c, small("one"))
	if n := c.Host.Calls("Volumes.Fetch"); n != 2 {
		t.Errorf("fetched %d times, not twice", n)
	}
}

// A guest that prints nothing but login prompts is told of a few times a second at
// most: it keeps neither a worker nor the store busy.
func TestManyPrompts(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	if err := c.Host.Print(i.UUID, strings.Repeat("host login: \n", 3000)); err != nil {
		t.Fatal(err)
	}
	looks := c.Host.Calls("ConsoleLog")
	eventually(t, "further looks", func() bool { return c.Host.Calls("ConsoleLog") > looks+10 })
	events, err := c.Events(ctx, sf.KindInstance, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range events {
		if e.Operation == "trigger" {
			told += max(e.Count, 1)
		}
	}
	if told == 0 || told > 10 {
		t.Errorf("%d events of login prompts", told)
	}
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx := sftest.Context(t)
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: it did not happen", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestForgetting(t *testing.T) {
	c := sftest.New(t)
	if err := c.Cloud.Close(); err != nil {
		t.Fatal(err)
	}
	c.Config.DeletedFor = time.Second
	var err error
	if c.Cloud, err = sf.Open(t.Context(), c.Config); err != nil {
		t.Fatal(err)
	}
	ctx := sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	if err := c.SetMetadata(ctx, sf.KindInstance, i.UUID, "k", "v"); err != nil {
		t.Fatal(err)
	}
	deleteInstance(t, c, i.UUID)
	if i, err := c.Instance(ctx, i.UUID); err != nil || i.Status.State != sf.StateDeleted {
		t.Fatalf("a deleted instance is not readable: %+v, %v", i, err)
	}
	eventually(t, "forgetting", func() bool { _, err := c.Instance(ctx, i.UUID); return errors.Is(err, sf.ErrNotFound) })
	if err := c.DeleteNetwork(ctx, n.UUID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "forgetting", func() bool { _, err := c.Network(ctx, n.UUID); return errors.Is(err, sf.ErrNotFound) })
}
