package sf_test

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// What comes from another cloud keeps its UUIDs, addresses and keys, stays off until
// it is switched on, and can be imported again.
func TestImport(t *testing.T) {
	const (
		net = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
		vm  = "11111111-1111-4111-8111-111111111111"
		vm2 = "22222222-2222-4222-8222-222222222222"
		nic = "ffffffff-1111-4fff-8fff-ffffffffffff"
	)
	c := sftest.New(t)
	ctx := sftest.Context(t)
	if err := c.CreateNamespace(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("old secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ImportKey(ctx, "demo", "deploy", hash); err != nil {
		t.Fatal(err)
	}
	if k, err := c.Authenticate(ctx, "demo", "old secret"); err != nil || k.Name != "deploy" {
		t.Errorf("%v, %v", k, err)
	}
	for name, bad := range map[string][]byte{"deploy": []byte("no hash"), "service_key": hash, "a/b": hash} {
		if err := c.ImportKey(ctx, "demo", name, bad); !errors.Is(err, sf.ErrInvalid) {
			t.Errorf("key %s: %v", name, err)
		}
	}
	if err := c.ImportKey(ctx, "none", "deploy", hash); !errors.Is(err, sf.ErrNotFound) {
		t.Error(err)
	}
	network := sf.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: true}
	want := sf.InstanceSpec{Name: "vm1", CPUs: 1, MemoryMiB: 512, Disks: []sf.Disk{{SizeGB: 8, Base: "cirros"}},
		Interfaces: []sf.InterfaceSpec{{Network: net, Address: "10.0.0.9", MAC: "00:00:00:a8:58:f9"}}}
	floating := netip.MustParseAddr("192.168.20.77")
	kept := sf.Kept{UUID: vm, Interfaces: []sf.KeptInterface{{UUID: nic, Floating: floating}}}
	for range 2 {
		n, err := c.ImportNetwork(ctx, "demo", network, sf.Kept{UUID: net})
		if err != nil || n.UUID != net {
			t.Fatal(n, err)
		}
		i, err := c.ImportInstance(ctx, "demo", want, kept)
		if err != nil || i.UUID != vm {
			t.Fatal(i, err)
		}
	}
	i, err := c.WaitInstance(ctx, vm, sf.InstanceCreated)
	if err != nil || i.Status.Power == sf.PowerOn {
		t.Errorf("%+v, %v", i.Status, err)
	}
	if f, err := c.Interface(ctx, nic); err != nil || f.Floating != floating || f.Address.String() != "10.0.0.9" || f.MAC != "00:00:00:a8:58:f9" {
		t.Errorf("%+v, %v", f, err)
	}
	kept.UUID = vm2
	if _, err := c.ImportInstance(ctx, "demo", want, kept); !errors.Is(err, sf.ErrConflict) {
		t.Errorf("another's interface: %v", err)
	}
	if _, err := c.ImportInstance(ctx, "demo", want, sf.Kept{UUID: "no uuid"}); !errors.Is(err, sf.ErrInvalid) {
		t.Error(err)
	}
	i, err = c.SetPower(ctx, vm, sf.PowerOn)
	if err != nil {
		t.Fatal(err)
	}
	if i, err = c.WaitInstance(ctx, vm, sf.PowerSettled(i.Power.Generation)); err != nil || i.Status.Power != sf.PowerOn {
		t.Errorf("%+v, %v", i.Status, err)
	}
	c.ComeToRest(t)
}
