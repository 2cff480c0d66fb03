package sf_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store/memory"
)

// A namespace comes in one piece, and again without changing anything that is there.
func TestImportNamespace(t *testing.T) {
	c := sftest.New(t)
	ctx := sftest.Context(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("old"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	other, err := bcrypt.GenerateFromPassword([]byte("other"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{"a": hash, "b": hash}
	merge := func(keys map[string][]byte, m sf.Metadata, created bool, added, differ string) {
		t.Helper()
		got, err := c.ImportNamespace(ctx, "demo", keys, m)
		if err != nil || got.Created != created || strings.Join(got.Added, ",") != added || strings.Join(got.Differ, ",") != differ {
			t.Errorf("%+v, %v", got, err)
		}
	}
	merge(keys, sf.Metadata{"x": 1}, true, "key a,key b,metadata x", "")
	merge(keys, sf.Metadata{"x": 1}, false, "", "")
	merge(map[string][]byte{"a": other, "c": hash}, sf.Metadata{"x": 2, "y": 3}, false, "key c,metadata y", "key a,metadata x")
	if m, err := c.Metadata(ctx, sf.KindNamespace, "demo"); err != nil || m["x"] != 1.0 || m["y"] != 3.0 {
		t.Errorf("%v, %v", m, err)
	}
	if k, err := c.Authenticate(ctx, "demo", "old"); err != nil || k.Name != "a" {
		t.Errorf("%v, %v", k, err)
	}
	if got, err := c.ImportNamespace(ctx, sf.System, keys, nil); err != nil || got.Created || len(got.Added) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	slow := []byte("$2a$31$" + strings.Repeat("a", 53))
	for name, bad := range map[string]map[string][]byte{"a/b": keys, "new": {"k": []byte("plain")}, "new2": {"k": slow}} {
		if _, err := c.ImportNamespace(ctx, name, bad, nil); !errors.Is(err, sf.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Namespace(ctx, name); !errors.Is(err, sf.ErrNotFound) {
			t.Errorf("%s: half of it is there: %v", name, err)
		}
	}
	if _, err := c.ImportNamespace(ctx, "big", keys, sf.Metadata{"x": strings.Repeat("x", 1<<20)}); !errors.Is(err, sf.ErrInvalid) {
		t.Error(err)
	}
	if _, err := c.Namespace(ctx, "big"); !errors.Is(err, sf.ErrNotFound) {
		t.Errorf("half of it is there: %v", err)
	}
}

// What is kept is kept, is nobody else's, and is put on a node that need not be there.
func TestImportKeeps(t *testing.T) {
	const (
		net1 = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
		net2 = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
		vm   = "11111111-1111-4111-8111-111111111111"
		nic  = "ffffffff-1111-4fff-8fff-ffffffffffff"
	)
	ctx := sftest.Context(t)
	s := memory.New(memory.Config{})
	defer s.Close()
	c, err := sf.Open(ctx, sf.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	network := sf.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", NAT: true}
	gateway := netip.MustParseAddr("192.168.20.77")
	kept := sf.Kept{UUID: net1, Node: "n1", VNI: 5, Gateway: gateway, Metadata: sf.Metadata{"k": "v"}}
	n, err := c.ImportNetwork(ctx, sf.System, network, kept)
	if err != nil || n.VNI != 5 || n.Gateway != gateway || n.Node != "" && n.Node != "n1" {
		t.Fatalf("%+v, %v", n, err)
	}
	if n, err = c.Network(ctx, net1); err != nil || n.Node != "n1" || n.MTU() != 1450 {
		t.Errorf("%+v, %v", n, err)
	}
	if m, err := c.Metadata(ctx, sf.KindNetwork, net1); err != nil || m["k"] != "v" {
		t.Errorf("%v, %v", m, err)
	}
	for want, bad := range map[string]sf.Kept{
		"VNI 5 is network " + net1: {UUID: net2, Node: "n1", VNI: 5},
		"in use":                   {UUID: net2, Node: "n1", Gateway: gateway},
		"no node is running":       {UUID: net2},
		"is not a VNI":             {UUID: net2, Node: "n1", VNI: 1 << 24},
		"outside":                  {UUID: net2, Node: "n1", Gateway: netip.MustParseAddr("1.2.3.4")},
	} {
		if _, err := c.ImportNetwork(ctx, sf.System, network, bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		if _, err := c.Network(ctx, net2); !errors.Is(err, sf.ErrNotFound) {
			t.Errorf("half of it is there: %v", err)
		}
	}
	vmSpec := sf.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 512, Disks: []sf.Disk{{SizeGB: 1, Base: "gone"}, {SizeGB: 1, Base: "gone too"}},
		Interfaces: []sf.InterfaceSpec{{Network: net1, Address: "10.0.0.9"}}}
	i, err := c.ImportInstance(ctx, sf.System, vmSpec, sf.Kept{UUID: vm, Node: "n1", Power: sf.PowerOn, Brought: []int{0, 1}, Interfaces: []sf.KeptInterface{{UUID: nic}}})
	if err != nil || i.Node != "n1" || i.Power.Want != sf.PowerOn {
		t.Fatalf("%+v, %v", i, err)
	}
	if nodes, err := c.Nodes(ctx); err != nil || len(nodes) != 0 {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// Disks that were brought along are not made from their images, which may be gone, and
// never anew; and no instance goes where there is no room.
func TestBroughtDisks(t *testing.T) {
	const vm, lost = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	ctx := sftest.Context(t)
	s := memory.New(memory.Config{})
	before, err := sf.Open(ctx, sf.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	want := sf.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 512, Disks: []sf.Disk{{SizeGB: 1, Base: "gone"}}}
	for _, id := range []string{vm, lost} {
		if _, err := before.ImportInstance(ctx, sf.System, want, sf.Kept{UUID: id, Node: "node1", Power: sf.PowerOn, Brought: []int{0}}); err != nil {
			t.Fatal(err)
		}
	}
	c := sftest.NewWith(t, fake.Config{Now: time.Now}, func(cfg *sf.Config) {
		cfg.Store = s
		host := fake.NewHost(fake.Config{Now: time.Now})
		host.Bring(vm, "vda", "virtio", 1<<30)
		cfg.Node.Hypervisor, cfg.Node.Volumes = host.Hypervisor(), host.Volumes()
	})
	i, err := c.WaitInstance(ctx, vm, sf.InstanceCreated)
	if err != nil || i.Status.Volumes[0].Image != "" || i.Status.Volumes[0].Base != "gone" {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := c.WaitInstance(ctx, lost, sf.InstanceCreated); err == nil || !strings.Contains(err.Error(), "was brought here") {
		t.Errorf("a disk that is gone: %v", err)
	}
	if nodes, err := c.Nodes(ctx); err != nil || nodes[0].Used.Instances != 2 {
		t.Errorf("%+v, %v", nodes[0], err)
	}
	want.MemoryMiB = 1 << 24
	if _, err := c.ImportInstance(ctx, sf.System, want, sf.Kept{UUID: "33333333-3333-4333-8333-333333333333", Node: "node1"}); !errors.Is(err, sf.ErrNoCapacity) {
		t.Errorf("%v", err)
	}
}
