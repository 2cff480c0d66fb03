package sf_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// Whatever a create asks for wrongly is refused with its class and a sentence
// that says what is wrong, and leaves nothing behind.
func TestCreateRefusals(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	first := newInstance(t, c, small("first", sf.InterfaceSpec{Network: n.UUID, Address: "10.0.0.9", MAC: "02:00:00:00:ab:cd"}))
	other := newNetworkIn(t, c, "other")
	nic := func(i sf.InterfaceSpec) func(*sf.InstanceSpec) {
		return func(s *sf.InstanceSpec) { i.Network = n.UUID; s.Interfaces = []sf.InterfaceSpec{i} }
	}
	for _, tc := range []struct {
		name  string
		edit  func(*sf.InstanceSpec)
		class error
		text  string
	}{
		{"bad name", func(s *sf.InstanceSpec) { s.Name = "under.score" }, sf.ErrInvalid, "instance name must be useable as a DNS host name"},
		{"no disk", func(s *sf.InstanceSpec) { s.Disks = nil }, sf.ErrInvalid, "must specify at least one disk"},
		{"no size", func(s *sf.InstanceSpec) { s.Disks = []sf.Disk{{}} }, sf.ErrInvalid, "disk 0: a disk without an image needs a size"},
		{"bad bus", func(s *sf.InstanceSpec) { s.Disks[0].Bus = "floppy" }, sf.ErrInvalid, `bus "floppy" is not one of virtio`},
		{"no memory", func(s *sf.InstanceSpec) { s.MemoryMiB = 0 }, sf.ErrInvalid, "memory must be between"},
		{"no such network", func(s *sf.InstanceSpec) { s.Interfaces = []sf.InterfaceSpec{{Network: "nope"}} }, sf.ErrNotFound, "network nope not found"},
		{"another's network", func(s *sf.InstanceSpec) { s.Interfaces = []sf.InterfaceSpec{{Network: other}} }, sf.ErrNotFound, "not found"},
		{"outside", nic(sf.InterfaceSpec{Address: "10.0.1.5"}), sf.ErrInvalid, "address 10.0.1.5 is outside the network's block 10.0.0.0/24"},
		{"network address", nic(sf.InterfaceSpec{Address: "10.0.0.0"}), sf.ErrInvalid, "is the network address"},
		{"router", nic(sf.InterfaceSpec{Address: "10.0.0.1"}), sf.ErrInvalid, "is the router's address"},
		{"broadcast", nic(sf.InterfaceSpec{Address: "10.0.0.255"}), sf.ErrInvalid, "is the broadcast address"},
		{"taken", nic(sf.InterfaceSpec{Address: "10.0.0.9"}), sf.ErrConflict, "address 10.0.0.9 in use"},
		{"no address", nic(sf.InterfaceSpec{Address: "ten"}), sf.ErrInvalid, `address "ten" is not an IPv4 address`},
		{"MAC taken, in capitals", nic(sf.InterfaceSpec{MAC: "02:00:00:00:AB:CD"}), sf.ErrConflict, "macaddress 02:00:00:00:ab:cd in use"},
		{"multicast MAC", nic(sf.InterfaceSpec{MAC: "01:00:00:00:00:09"}), sf.ErrInvalid, "multicast"},
		{"unknown card", nic(sf.InterfaceSpec{Model: "token-ring"}), sf.ErrInvalid, `node1: network interface 0: model "token-ring" is not available, only`},
		{"no such node", func(s *sf.InstanceSpec) { s.PlacedOn = "elsewhere" }, sf.ErrNotFound, "node not found: elsewhere"},
		{"too large", func(s *sf.InstanceSpec) { s.MemoryMiB = 1 << 20 }, sf.ErrNoCapacity, "node1: not enough RAM: 1048576 MiB asked"},
		{"address twice", func(s *sf.InstanceSpec) {
			s.Interfaces = []sf.InterfaceSpec{{Network: n.UUID, Address: "10.0.0.20"}, {Network: n.UUID, Address: "10.0.0.20"}}
		}, sf.ErrConflict, "asked for twice"},
		{"MAC twice", func(s *sf.InstanceSpec) {
			s.Interfaces = []sf.InterfaceSpec{{Network: n.UUID, MAC: "02:00:00:00:00:77"}, {Network: n.UUID, MAC: "02:00:00:00:00:77"}}
		}, sf.ErrConflict, "in use"},
		{"five on IDE", func(s *sf.InstanceSpec) {
			d := sf.Disk{SizeGB: 1, Bus: "ide"}
			s.Disks = []sf.Disk{d, d, d, d, d}
		}, sf.ErrInvalid, "IDE bus"},
		{"seven on SATA", func(s *sf.InstanceSpec) {
			d := sf.Disk{SizeGB: 1, Bus: "sata"}
			s.Disks = []sf.Disk{d, d, d, d, d, d}
		}, sf.ErrInvalid, "7 devices on the SATA bus, which takes 6"},
		{"too many cards", func(s *sf.InstanceSpec) {
			s.Disks = make([]sf.Disk, 13)
			for k := range s.Disks {
				s.Disks[k].SizeGB = 1
			}
			s.Interfaces = make([]sf.InterfaceSpec, 7)
			for k := range s.Interfaces {
				s.Interfaces[k].Network = n.UUID
			}
		}, sf.ErrInvalid, "are 21 PCI cards, a machine takes 20: use bus scsi"},
		{"too many CPUs", func(s *sf.InstanceSpec) { s.CPUs = 256 }, sf.ErrInvalid, "cpus must be between 1 and 255, not 256"},
		{"too much user data", func(s *sf.InstanceSpec) { s.UserData = make([]byte, 1<<20+1) }, sf.ErrInvalid, "user_data has 1048577 bytes"},
	} {
		s := small("two")
		tc.edit(&s)
		made, err := c.CreateInstance(ctx, "tenant", s)
		if tc.name != "another's network" && (err == nil || errors.Is(err, sf.ErrNotFound)) && tc.class != sf.ErrNotFound {
			made, err = c.CreateInstance(ctx, sf.System, s)
		}
		if !errors.Is(err, tc.class) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: made %v, error %v; want %v, %q", tc.name, made, err, tc.class, tc.text)
		}
	}
	if all, _, err := c.Instances(ctx, sf.ListOptions{}); err != nil || len(all) != 1 || all[0].UUID != first.UUID {
		t.Errorf("%d instances, %v", len(all), err)
	}
	c.ComeToRest(t)
}

func newNetworkIn(t *testing.T, c *cloud, namespace string) string {
	t.Helper()
	ctx := sftest.Context(t)
	for _, ns := range []string{namespace, "tenant"} {
		if err := c.CreateNamespace(ctx, ns); err != nil {
			t.Fatal(err)
		}
	}
	n, err := c.CreateNetwork(ctx, namespace, sf.NetworkSpec{Name: "n", Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	return n.UUID
}

func TestIdempotencyKey(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	s := small("one")
	s.IdempotencyKey = "k1"
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for k := range ids {
		wg.Go(func() {
			i, err := c.CreateInstance(ctx, sf.System, s)
			if err != nil {
				t.Error(err)
				return
			}
			ids[k] = i.UUID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one key made several instances: %v", ids)
		}
	}
	s.MemoryMiB++
	if _, err := c.CreateInstance(ctx, sf.System, s); !errors.Is(err, sf.ErrConflict) {
		t.Errorf("another body under the same key: %v", err)
	}
	net := sf.NetworkSpec{Netblock: "10.0.0.0/24", IdempotencyKey: "k1"}
	one, err := c.CreateNetwork(ctx, sf.System, net)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.CreateNetwork(ctx, sf.System, net)
	if err != nil || two.UUID != one.UUID {
		t.Errorf("%v, %v", two, err)
	}
}

// An address given back is not handed out again while others are free, is when
// nothing else is left, and at once to who asks for it.
func TestAddressesRest(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/29") // .2 to .6
	gone := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID, Address: "10.0.0.4"}))
	deleteInstance(t, c, gone.UUID)
	for k := range 4 {
		i := newInstance(t, c, small("next", sf.InterfaceSpec{Network: n.UUID}))
		nics, err := c.InstanceInterfaces(ctx, i.UUID)
		if err != nil || nics[0].Address.String() == "10.0.0.4" {
			t.Fatalf("instance %d got %v, %v: it should rest", k, nics, err)
		}
	}
	last := newInstance(t, c, small("last", sf.InterfaceSpec{Network: n.UUID}))
	if nics, err := c.InstanceInterfaces(ctx, last.UUID); err != nil || nics[0].Address.String() != "10.0.0.4" {
		t.Fatalf("the last one got %v, %v", nics, err)
	}
	deleteInstance(t, c, last.UUID)
	asked := newInstance(t, c, small("asked", sf.InterfaceSpec{Network: n.UUID, Address: "10.0.0.4"}))
	deleteInstance(t, c, asked.UUID)
	c.ComeToRest(t)
}

// Creates that run at the same time never promise more than a node has, and never
// fail while there is room.
func TestCapacityUnderContention(t *testing.T) {
	c := sftest.NewWith(t, fake.Config{Now: time.Now, Info: driver.Info{CPUs: 1, MemoryMiB: 4096}})
	ctx := sftest.Context(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made, refused := 0, 0
	for range 40 {
		wg.Go(func() {
			_, err := c.CreateInstance(ctx, sf.System, small("i")) // 16 virtual CPUs in all
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.Is(err, sf.ErrNoCapacity) && strings.Contains(err.Error(), "not enough CPU"):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 16 || refused != 24 {
		t.Errorf("%d made and %d refused of 40, there is room for 16", made, refused)
	}
}

func TestPagingVisitsAllOnce(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	for range 23 {
		if _, err := c.CreateInstance(ctx, sf.System, small("i")); err != nil {
			t.Fatal(err)
		}
	}
	for _, namespace := range []string{"", sf.System} {
		seen := map[string]bool{}
		opt := sf.ListOptions{Namespace: namespace, Limit: 5}
		for pages := 1; ; pages++ {
			items, next, err := c.Instances(ctx, opt)
			if err != nil || len(items) > 5 {
				t.Fatal(len(items), err)
			}
			for _, i := range items {
				if seen[i.UUID] {
					t.Fatalf("%s twice", i.UUID)
				}
				seen[i.UUID] = true
			}
			if opt.After = next; next == "" {
				if pages != 5 {
					t.Errorf("%d pages", pages)
				}
				break
			}
		}
		if len(seen) != 23 {
			t.Errorf("%d of 23", len(seen))
		}
	}
}
