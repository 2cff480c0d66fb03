package sf_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// What an image's name has of secrets is in the instance's own record, and in nothing that is
// said of it: why it waits or failed, its events, the error of who fetches it ahead.
func TestSecretsOfImagesAreNotTold(t *testing.T) {
	const name, shown = "https://me:hunter2@images/a?token=hunter2", "https://***@images/a?token=***"
	c, ctx := sftest.New(t), sftest.Context(t)
	c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Nth: 1, Err: errors.New("no route")})
	c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Nth: 2, Err: driver.ErrPermanent})
	want := small("one")
	want.Disks[0].Base = name
	i, err := c.CreateInstance(ctx, sf.System, want)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, text string) {
		t.Helper()
		if strings.Contains(text, "hunter2") || !strings.Contains(text, shown) {
			t.Errorf("%s is %q, want %s in it", what, text, shown)
		}
	}
	c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) {
		if w := i.Status.Wait; w != nil && strings.Contains(w.Reason, "no route") {
			check("the reason to wait", w.Reason)
		}
		return i.Status.State == sf.StateError, nil
	})
	if i, err = c.Instance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	check("the error", i.Status.Error)
	events, err := c.Events(ctx, sf.KindInstance, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if strings.Contains(e.Message, "image") {
			check("an event", e.Message)
		}
	}
	for _, fault := range []error{driver.ErrPermanent, driver.ErrNoSpace, errors.New("no route")} {
		c.Host.Heal()
		c.Host.Fault(fake.Fault{Method: "Volumes.Fetch", Err: fault})
		err := c.CacheImage(ctx, name, nil)
		if err == nil {
			t.Fatal("it was fetched")
		}
		check("the error of who fetches it", err.Error())
		if e := (*sf.Error)(nil); errors.As(err, &e) {
			check("what it is about", e.ID)
		}
	}
}
