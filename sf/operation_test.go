package sf_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

func TestReboot(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	for _, hard := range []bool{false, true} {
		op, err := c.Reboot(ctx, i.UUID, hard)
		if err != nil {
			t.Fatal(err)
		}
		if op, err = c.WaitOperation(ctx, op); err != nil || op.Status.State != spec.OperationDone {
			t.Fatalf("hard %v: %+v, %v", hard, op, err)
		}
	}
	if ops, err := c.Operations(ctx, i.UUID); err != nil || len(ops) != 2 || ops[0].Kind != spec.OpReboot || ops[1].Kind != spec.OpReset {
		t.Errorf("%+v, %v", ops, err)
	}
	if _, err := c.SetPower(ctx, i.UUID, sf.PowerOff); err != nil {
		t.Fatal(err)
	}
	off := func(i *sf.Instance) (bool, error) { return i.Status.Power == sf.PowerOff, nil }
	if _, err := c.WaitInstance(ctx, i.UUID, off); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reboot(ctx, i.UUID, true); !errors.Is(err, sf.ErrConflict) || !strings.Contains(err.Error(), "only one that is on can be rebooted") {
		t.Errorf("rebooting one that is off: %v", err)
	}
}

// A reboot that the guest ignores fails at its deadline, and says so.
func TestRebootIgnored(t *testing.T) {
	deaf := fake.Config{Now: time.Now, Guest: func(driver.Spec) fake.Guest { return fake.Guest{IgnoresPower: true} }}
	c := sftest.NewWith(t, deaf, func(cfg *sf.Config) {
		cfg.Clock = &hurried{time.Now()}
		cfg.Node.SessionTTL = 24 * time.Hour // of which a busy machine may miss some
	})
	ctx := sftest.Context(t)
	i := newInstance(t, c, small("one"))
	op, err := c.Reboot(ctx, i.UUID, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitOperation(ctx, op); !errors.Is(err, sf.ErrFailed) || !strings.Contains(err.Error(), "power button") {
		t.Error(err)
	}
}

// hurried is a clock on which a minute takes a tenth of a second.
type hurried struct {
	begin time.Time
}

const haste = 600

func (h *hurried) Now() time.Time { return h.begin.Add(haste * time.Since(h.begin)) }

func (h *hurried) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	if d > 0 {
		d /= haste
	}
	return reconcile.RealClock{}.Wait(ctx, d, wake)
}

// Ended operations are forgotten beyond the last few.
func TestOperationsAreBounded(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	for range 40 {
		op, err := c.Reboot(ctx, i.UUID, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.WaitOperation(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	if ops, err := c.Operations(ctx, i.UUID); err != nil || len(ops) > 17 {
		t.Errorf("%d operations, %v", len(ops), err)
	}
}

// Many operations that were asked for at once, and have ended, keep no further one
// from being recorded: they are forgotten a few at a time.
func TestManyOperationsAtOnce(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	all := make(chan struct{})
	c.Host.Fault(fake.Fault{Method: "Reset", Nth: 1, Wait: func(ctx context.Context) error {
		select {
		case <-all:
		case <-ctx.Done():
		}
		return ctx.Err()
	}})
	var last *sf.Operation
	for k := range 100 {
		op, err := c.Reboot(ctx, i.UUID, true)
		if err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
		last = op
	}
	close(all)
	if _, err := c.WaitOperation(ctx, last); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		op, err := c.Reboot(ctx, i.UUID, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.WaitOperation(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	if ops, err := c.Operations(ctx, i.UUID); err != nil || len(ops) > 17 {
		t.Errorf("%d operations, %v", len(ops), err)
	}
}

// late is a clock that is a minute behind.
type late struct{ reconcile.RealClock }

func (late) Now() time.Time { return time.Now().Add(-time.Minute) }

// Operations are in the order in which they were asked for, also when one is asked for
// by a process whose clock is behind, or after a clock was set back.
func TestOperationsInOrder(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	behind, err := sf.Open(ctx, sf.Config{Store: c.Store, Clock: late{}})
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for k := range 6 {
		cloud := []*sf.Cloud{c.Cloud, behind}[k%2]
		op, err := cloud.Reboot(ctx, i.UUID, true)
		if err == nil {
			op, err = cloud.WaitOperation(ctx, op)
		}
		if err != nil {
			t.Fatal(err)
		}
		asked = append(asked, op.ID)
	}
	ops, err := c.Operations(ctx, i.UUID)
	if err != nil || len(ops) != len(asked) {
		t.Fatalf("%d operations, %v", len(ops), err)
	}
	for k, op := range ops {
		if op.ID != asked[k] {
			t.Errorf("operation %d is %s, asked for was %s", k, op.ID, asked[k])
		}
	}
}

func snapshotOf(t *testing.T, c *cloud, id string, all bool) *sf.Snapshot {
	t.Helper()
	ctx := sftest.Context(t)
	s, op, err := c.Snapshot(ctx, id, all)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitOperation(ctx, op); err != nil {
		t.Fatal(err)
	}
	if s, err = c.SnapshotByID(ctx, s.UUID); err != nil || s.Status.State != sf.StateCreated {
		t.Fatalf("%+v, %v", s, err)
	}
	return s
}

func TestSnapshot(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	want := small("one")
	want.Disks = append(want.Disks, sf.Disk{SizeGB: 2}, sf.Disk{Base: "http://images/cd.iso"})
	i := newInstance(t, c, want)
	boot := snapshotOf(t, c, i.UUID, false)
	all := snapshotOf(t, c, i.UUID, true)
	if fmt.Sprint(boot.Devices, all.Devices) != "[vda] [vda vdc]" {
		t.Errorf("devices %v and %v", boot.Devices, all.Devices)
	}
	list, err := c.InstanceSnapshots(ctx, i.UUID)
	if err != nil || len(list) != 2 || list[0].UUID != boot.UUID {
		t.Errorf("%+v, %v", list, err)
	}
	r, err := c.OpenSnapshot(ctx, all.UUID, "vdc")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "snapshot "+all.UUID+" of vdc" {
		t.Errorf("%q, %v", text, err)
	}
	for device, class := range map[string]error{"vdb": sf.ErrNotFound, "": sf.ErrNotFound} {
		if _, err := c.OpenSnapshot(ctx, all.UUID, device); !errors.Is(err, class) {
			t.Errorf("device %q: %v", device, err)
		}
	}
	deleteInstance(t, c, i.UUID)
	if err := c.DeleteSnapshot(ctx, boot.UUID); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitSnapshotGone(ctx, boot.UUID); err != nil {
		t.Fatal(err)
	}
	if list, err := c.InstanceSnapshots(ctx, i.UUID); err != nil || len(list) != 1 {
		t.Errorf("the other one should outlive its instance: %+v, %v", list, err)
	}
	c.ComeToRest(t)
}

func TestSnapshotOfStopped(t *testing.T) {
	c := sftest.New(t)
	i := newInstance(t, c, small("one"))
	if err := c.Host.Shutdown(i.UUID); err != nil {
		t.Fatal(err)
	}
	snapshotOf(t, c, i.UUID, false)
}

// Whoever starts an instance whose disks are being copied ends that copy first, so
// that it is never of a disk that a guest writes to. The snapshot is made all the same.
func TestStartDuringSnapshotOfStopped(t *testing.T) {
	copying, torn := make(chan struct{}), errors.New("the machine was started during the copy of its disk")
	var under atomic.Int32
	hook := func(ctx context.Context, call fake.Call) error {
		switch {
		case call.Method == "Volumes.CopyDisk" && !call.Done && call.N == 1:
			under.Add(1)
			defer under.Add(-1)
			close(copying)
			<-ctx.Done()
			return ctx.Err()
		case call.Method == "Volumes.CopyDisk" && call.N > 1: // made anew before the start
			if call.Done {
				under.Add(-1)
			} else {
				under.Add(1)
			}
		case call.Method == "Start" && under.Load() > 0:
			return torn
		}
		return nil
	}
	c := sftest.NewWith(t, fake.Config{Now: time.Now, Hook: hook})
	ctx := sftest.Context(t)
	i := newInstance(t, c, small("one"))
	if err := c.Host.Shutdown(i.UUID); err != nil {
		t.Fatal(err)
	}
	off := func(i *sf.Instance) (bool, error) { return i.Status.Power == sf.PowerOff, nil }
	if _, err := c.WaitInstance(ctx, i.UUID, off); err != nil {
		t.Fatal(err)
	}
	s, op, err := c.Snapshot(ctx, i.UUID, false)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-copying:
	case <-ctx.Done():
		t.Fatal("no copy is begun")
	}
	if i, err = c.SetPower(ctx, i.UUID, sf.PowerOn); err != nil {
		t.Fatal(err)
	}
	settled := sf.PowerSettled(i.Power.Generation)
	if i, err = c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) {
		if w := i.Status.Wait; w != nil && strings.Contains(w.Reason, torn.Error()) {
			return true, torn
		}
		return settled(i)
	}); err != nil || i.Status.Power != sf.PowerOn {
		t.Fatalf("%+v, %v", i.Status, err)
	}
	if _, err := c.WaitOperation(ctx, op); err != nil {
		t.Fatal(err)
	}
	if s, err = c.SnapshotByID(ctx, s.UUID); err != nil || s.Status.State != sf.StateCreated {
		t.Errorf("%+v, %v", s, err)
	}
	if n := c.Host.Calls("Snapshot") + c.Host.Calls("Volumes.CopyDisk"); n != 2 {
		t.Errorf("%d copies, not the one that was ended and another", n)
	}
}

// A snapshot that fails says why and leaves nothing.
func TestSnapshotFails(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	c.Host.Fault(fake.Fault{Method: "SnapshotJob", Nth: 2, Err: errors.New("input/output error")})
	s, op, err := c.Snapshot(ctx, i.UUID, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.WaitOperation(ctx, op); !errors.Is(err, sf.ErrFailed) || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("%v", err)
	}
	if s, err := c.SnapshotByID(ctx, s.UUID); err != nil || s.Status.State != sf.StateError || s.Status.Error == "" {
		t.Errorf("%+v, %v", s, err)
	}
	c.ComeToRest(t)
}

func TestInstanceFromSnapshot(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	s := snapshotOf(t, c, newInstance(t, c, small("one")).UUID, false)
	want := small("two")
	want.Disks[0].Base = "snapshot:" + s.UUID
	newInstance(t, c, want)
	if err := c.CreateNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		namespace, base string
		class           error
		text            string
	}{
		{"tenant", "snapshot:" + s.UUID, sf.ErrNotFound, "disk 0: snapshot not found"},
		{sf.System, "snapshot:nope", sf.ErrNotFound, "disk 0: snapshot not found"},
		{sf.System, "snapshot:../../etc/passwd", sf.ErrNotFound, "disk 0: snapshot not found"},
		{sf.System, "snapshot:" + s.UUID + "/vdz", sf.ErrNotFound, `no device "vdz", only vda`},
	} {
		want.Disks[0].Base = tc.base
		if _, err := c.CreateInstance(ctx, tc.namespace, want); !errors.Is(err, tc.class) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s in %s: %v", tc.base, tc.namespace, err)
		}
	}
}

func TestImages(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	if err := c.CacheImage(ctx, "http://images/b", nil); err != nil {
		t.Fatal(err)
	}
	i := newInstance(t, c, small("one"))
	list, err := c.Images(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, img := range list {
		err := c.DeleteImage(ctx, img.ID)
		if used := img.Users > 0; used != errors.Is(err, sf.ErrInUse) || !used && err != nil {
			t.Errorf("%s with %d users: %v", img.Names, img.Users, err)
		}
	}
	deleteInstance(t, c, i.UUID)
	c.Host.Fill()
	if err := c.DeleteImage(ctx, "nope"); !errors.Is(err, sf.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
