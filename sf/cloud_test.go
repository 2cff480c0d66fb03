package sf_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

func newNetwork(t *testing.T, c *sftest.Cloud, block string) *sf.Network {
	t.Helper()
	ctx := sftest.Context(t)
	n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "net", Netblock: block, DHCP: true, NAT: true})
	if err != nil {
		t.Fatal(err)
	}
	if n, err = c.WaitNetwork(ctx, n.UUID, sf.NetworkCreated); err != nil {
		t.Fatal(err)
	}
	return n
}

func small(name string, nics ...sf.InterfaceSpec) sf.InstanceSpec {
	return sf.InstanceSpec{Name: name, CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1, Base: "http://images/a"}}, Interfaces: nics}
}

func newInstance(t *testing.T, c *sftest.Cloud, want sf.InstanceSpec) *sf.Instance {
	t.Helper()
	ctx := sftest.Context(t)
	i, err := c.CreateInstance(ctx, sf.System, want)
	if err != nil {
		t.Fatal(err)
	}
	if i, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated); err != nil {
		t.Fatal(err)
	}
	return i
}

// Closing twice is nil, and takes no longer than once.
func TestCloseTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sftest.NewWith(t, fake.Config{Now: time.Now})
		start := time.Now()
		for range 2 {
			if err := c.Cloud.Close(); err != nil || time.Since(start) != 0 {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		}
	})
}

func TestLife(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	if i.Status.Power != sf.PowerOn || len(i.Status.Volumes) != 2 {
		t.Fatalf("status %+v", i.Status)
	}
	if err := c.DeleteNetwork(ctx, n.UUID); !errors.Is(err, sf.ErrInUse) {
		t.Fatalf("deleting a network in use: %v", err)
	}
	if err := c.DeleteInstance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	if i, err := c.WaitInstance(ctx, i.UUID, sf.InstanceGone); err != nil || i.Status.State != sf.StateDeleted {
		t.Fatalf("%+v, %v", i, err)
	}
	if err := c.DeleteNetwork(ctx, n.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitNetwork(ctx, n.UUID, sf.NetworkGone); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteInstance(ctx, i.UUID); !errors.Is(err, sf.ErrNotFound) {
		t.Fatalf("deleting again: %v", err)
	}
}

func TestGuestShutdownStaysDown(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	i := newInstance(t, c, small("one"))
	if err := c.Host.Shutdown(i.UUID); err != nil {
		t.Fatal(err)
	}
	off := func(i *sf.Instance) (bool, error) { return i.Status.Power == sf.PowerOff, nil }
	i, err := c.WaitInstance(ctx, i.UUID, off)
	if err != nil || i.Status.Ended == "" {
		t.Fatalf("%+v, %v", i, err)
	}
	i, err = c.SetPower(ctx, i.UUID, sf.PowerOn)
	if err != nil {
		t.Fatal(err)
	}
	i, err = c.WaitInstance(ctx, i.UUID, sf.PowerSettled(i.Power.Generation))
	if err != nil || i.Status.Power != sf.PowerOn {
		t.Fatalf("%+v, %v", i.Status, err)
	}
	for _, want := range []sf.PowerState{sf.PowerPaused, sf.PowerOn, sf.PowerOff, sf.PowerPaused, sf.PowerOff} {
		i, err := c.SetPower(ctx, i.UUID, want)
		if err == nil {
			i, err = c.WaitInstance(ctx, i.UUID, sf.PowerSettled(i.Power.Generation))
		}
		if err != nil || i.Status.Power != want {
			t.Fatalf("wanted %s: %+v, %v", want, i.Status, err)
		}
	}
}

func TestWholeBlockIsDistinct(t *testing.T) {
	c := sftest.New(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	seen := map[string]bool{"10.0.0.1": true}
	ctx := sftest.Context(t)
	for k := range 64 {
		want := small(fmt.Sprintf("i%d", k), sf.InterfaceSpec{Network: n.UUID}, sf.InterfaceSpec{Network: n.UUID},
			sf.InterfaceSpec{Network: n.UUID}, sf.InterfaceSpec{Network: n.UUID})
		if k == 63 {
			want.Interfaces = want.Interfaces[:1]
		}
		i, err := c.CreateInstance(ctx, sf.System, want)
		if err != nil {
			t.Fatal(err)
		}
		nics, err := c.InstanceInterfaces(ctx, i.UUID)
		if err != nil || len(nics) != len(want.Interfaces) {
			t.Fatalf("%d NICs, %v", len(nics), err)
		}
		for _, nic := range nics {
			if seen[nic.Address.String()] || !n.Prefix().Contains(nic.Address) {
				t.Fatalf("address %s twice, the router's, or outside", nic.Address)
			}
			seen[nic.Address.String()] = true
		}
	}
	if len(seen) != 254 {
		t.Fatalf("%d of 253 addresses", len(seen)-1)
	}
	if _, err := c.CreateInstance(ctx, sf.System, small("last", sf.InterfaceSpec{Network: n.UUID})); !errors.Is(err, sf.ErrNoCapacity) {
		t.Fatalf("one too many: %v", err)
	}
}
