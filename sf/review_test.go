package sf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// realTime is a simulated host on the machine's clock.
var realTime = fake.Config{Now: time.Now}

// stubborn is a fabric that can be made unable to change any network.
type stubborn struct {
	netfab.Fabric
	broken atomic.Bool
}

func (f *stubborn) Apply(ctx context.Context, want netfab.Desired) error {
	if !f.broken.Load() {
		return f.Fabric.Apply(ctx, want)
	}
	var errs []error
	for _, n := range want.Networks {
		errs = append(errs, &netfab.NetworkError{Network: n.ID, Err: errors.New("the tap is stuck")})
	}
	return errors.Join(errs...)
}

// TestDetachIsConfirmed deletes an instance whose port cannot be taken away: its
// address and MAC stay its own until it can.
func TestDetachIsConfirmed(t *testing.T) {
	f := &stubborn{}
	c := cloudOver(t, f, &f.Fabric)
	ctx := sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	f.broken.Store(true)
	if err := c.DeleteInstance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	i, err := c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) {
		return i.Deletion.Gone() || i.Status.Wait != nil && strings.Contains(i.Status.Wait.Reason, "the tap is stuck"), nil
	})
	if err != nil || i.Deletion.Gone() {
		t.Fatalf("its port is there and it is gone: %+v, %v", i, err)
	}
	f.broken.Store(false)
	if _, err := c.WaitInstance(ctx, i.UUID, sf.InstanceGone); err != nil {
		t.Fatal(err)
	}
	c.ComeToRest(t)
}

// TestMetadataOfManyWriters loses none of many concurrent changes.
func TestMetadataOfManyWriters(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	const writers, keys = 8, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for k := range keys {
				if err := c.SetMetadata(ctx, sf.KindNamespace, sf.System, fmt.Sprintf("%d-%d", w, k), "v"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if m, err := c.Metadata(ctx, sf.KindNamespace, sf.System); err != nil || len(m) != writers*keys {
		t.Errorf("%d of %d changes are there, %v", len(m), writers*keys, err)
	}
}

// meddler does something at one moment of somebody else's reads.
type meddler struct {
	store.Store
	mu     sync.Mutex
	prefix string
	do     func()
}

func (m *meddler) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := m.Store.Get(ctx, key)
	m.mu.Lock()
	do := m.do
	if do != nil && strings.HasPrefix(key, m.prefix) {
		m.do = nil
	} else {
		do = nil
	}
	m.mu.Unlock()
	if do != nil {
		do()
	}
	return r, err
}

// at has do done right after the next read below a prefix.
func (m *meddler) at(prefix string, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prefix, m.do = prefix, do
}

// TestNoInheritance deletes a namespace in the middle of a change of its metadata:
// a namespace that has its name afterwards has nothing of it.
func TestNoInheritance(t *testing.T) {
	m := &meddler{Store: memory.New(memory.Config{})}
	c, ctx := sftest.NewWith(t, realTime, func(cfg *sf.Config) { cfg.Store = m }), sftest.Context(t)
	if err := c.CreateNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	m.at("sf/metadata/namespace/tenant", func() {
		if err := c.DeleteNamespace(ctx, "tenant"); err != nil {
			t.Error(err)
		}
	})
	if err := c.SetMetadata(ctx, sf.KindNamespace, "tenant", "secret", "the old tenant's"); !errors.Is(err, sf.ErrNotFound) {
		t.Errorf("a change of what was deleted meanwhile: %v", err)
	}
	if err := c.CreateNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Metadata(ctx, sf.KindNamespace, "tenant"); err != nil || len(got) > 0 {
		t.Errorf("it inherits %v, %v", got, err)
	}
}

// TestPickedAddressTaken takes an address between its being picked and claimed:
// nobody asked for it, so another will do.
func TestPickedAddressTaken(t *testing.T) {
	m := &meddler{Store: memory.New(memory.Config{})}
	c, ctx := sftest.NewWith(t, realTime, func(cfg *sf.Config) { cfg.Store = m }), sftest.Context(t)
	var others []netip.Addr
	m.at("sf/address/floating/", func() {
		for last := range 253 { // all but one of those that may have been picked
			addr := netip.AddrFrom4([4]byte{192, 168, 20, byte(last + 2)})
			if last == 99 {
				continue
			}
			others = append(others, addr)
			if _, err := m.Commit(ctx, store.Txn{Do: []store.Op{store.Put("sf/address/floating/"+addr.String(), []byte(`{"owner":"another"}`))}}); err != nil {
				t.Error(err)
			}
		}
	})
	n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/24", NAT: true})
	if err != nil || n.Gateway != netip.MustParseAddr("192.168.20.101") {
		t.Errorf("%+v, %v", n, err)
	}
	if len(others) != 252 {
		t.Fatalf("%d addresses were taken", len(others))
	}
}

// TestIdempotencyKeyOfNothing uses a key again when what it made is forgotten, or
// its namespace is another.
func TestIdempotencyKeyOfNothing(t *testing.T) {
	c := sftest.NewWith(t, realTime, func(cfg *sf.Config) { cfg.DeletedFor = time.Millisecond })
	ctx := sftest.Context(t)
	if err := c.CreateNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	want := sf.NetworkSpec{Netblock: "10.0.0.0/24", IdempotencyKey: "k"}
	gone := func(id string) {
		t.Helper()
		if err := c.DeleteNetwork(ctx, id); err != nil {
			t.Fatal(err)
		}
		for { // the janitor comes by itself
			switch _, err := c.Network(ctx, id); {
			case errors.Is(err, sf.ErrNotFound):
				return
			case err != nil:
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	first, err := c.CreateNetwork(ctx, "tenant", want)
	if err != nil {
		t.Fatal(err)
	}
	gone(first.UUID)
	second, err := c.CreateNetwork(ctx, "tenant", want)
	if err != nil || second.UUID == first.UUID {
		t.Fatalf("after the first was forgotten: %+v, %v", second, err)
	}
	gone(second.UUID)
	if err := c.DeleteNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	want.Name = "another"
	if _, err := c.CreateNetwork(ctx, "tenant", want); err != nil {
		t.Errorf("another request in another namespace of the name: %v", err)
	}
}

// TestLargestUserData stores as much as is promised, beside the most of the rest.
func TestLargestUserData(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	want := small("one")
	want.UserData = bytes.Repeat([]byte{0xff, 'u', 0, '\n'}, 1<<18)
	want.SSHKey = strings.Repeat("k", 16<<10)
	want.Metadata = sf.Metadata{"m": strings.Repeat("x", 60<<10)}
	i, err := c.CreateInstance(ctx, sf.System, want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.UserData(ctx, i.UUID); err != nil || !bytes.Equal(got, want.UserData) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(want.UserData), err)
	}
}

// TestSlowDownloadsStopNothing has more downloads that never end than the node
// does at a time: everything else goes on.
func TestSlowDownloadsStopNothing(t *testing.T) {
	stuck := make(chan struct{})
	hook := func(ctx context.Context, call fake.Call) error {
		if call.Method == "Volumes.Fetch" && !call.Done {
			select {
			case <-stuck:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	c := sftest.NewWith(t, fake.Config{Now: time.Now, Hook: hook}, func(cfg *sf.Config) {
		cfg.Node.Workers, cfg.Node.Transfers = 2, 3
	})
	ctx := sftest.Context(t)
	var ids []string
	for k := range 8 {
		i, err := c.CreateInstance(ctx, sf.System, small(fmt.Sprint("i", k)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, i.UUID)
	}
	newNetwork(t, c, "10.0.0.0/24")
	for _, id := range ids {
		if err := c.DeleteInstance(ctx, id); err != nil {
			t.Fatal(err)
		}
		if _, err := c.WaitInstance(ctx, id, sf.InstanceGone); err != nil {
			t.Fatal(err)
		}
	}
	close(stuck)
	newInstance(t, c, small("last"))
}

// TestSlowDownloadsAreTheirOwners has one namespace download from servers that never
// end: others get their images all the same, and its own go on as these end.
func TestSlowDownloadsAreTheirOwners(t *testing.T) {
	stuck := make(chan struct{})
	hook := func(ctx context.Context, call fake.Call) error {
		if call.Method == "Volumes.Fetch" && strings.Contains(call.ID, "tarpit") && !call.Done {
			select {
			case <-stuck:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	c := sftest.NewWith(t, fake.Config{Now: time.Now, Hook: hook}, func(cfg *sf.Config) { cfg.Node.Transfers = 4 })
	ctx := sftest.Context(t)
	if err := c.CreateNamespace(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for k := range 8 {
		want := small(fmt.Sprint("i", k))
		want.Disks[0].Base = fmt.Sprint("http://tarpit.example/", k)
		i, err := c.CreateInstance(ctx, "tenant", want)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, i.UUID)
	}
	until(t, c, "the rest to wait for their turns", func(s sf.Stats) bool { return s.Node.Fetching == 3 && s.Node.Waits["its image"] == 8 })
	newInstance(t, c, small("other"))
	if err := c.DeleteInstance(ctx, ids[0]); err != nil { // which gives its turn away
		t.Fatal(err)
	}
	close(stuck)
	for _, id := range ids[1:] {
		if _, err := c.WaitInstance(ctx, id, sf.InstanceCreated); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCreationGivesUp fails an image for more than ten minutes, in words that
// change: the instance ends in error, and says all the while since when.
func TestCreationGivesUp(t *testing.T) {
	tries := 0
	err := sftest.Simulate(sftest.SimConfig{Seed: 7, Fault: func(s sftest.Step) sftest.Fault {
		if strings.HasPrefix(s.What, "Volumes.Fetch") && !s.Done {
			tries++
			return sftest.Fail
		}
		return sftest.NoFault
	}}, func(s *sftest.Sim) error {
		ctx := s.Context(time.Hour)
		if err := s.Nodes[0].Start(ctx); err != nil {
			return err
		}
		c := s.Nodes[0].Cloud
		i, err := c.CreateInstance(ctx, sf.System, small("one"))
		if err != nil {
			return err
		}
		start := s.Now()
		for i.Status.State != sf.StateError {
			if s.Now().Sub(start) > 15*time.Minute {
				return fmt.Errorf("it is still %s: %+v", i.Status.State, i.Status.Wait)
			}
			if w := i.Status.Wait; w != nil && w.Attempts > 1 && w.Since.Sub(start) > 5*time.Second {
				return fmt.Errorf("it says that it waits since %v, in fact since %v: %+v", w.Since, start, w)
			}
			s.Sleep(7 * time.Second)
			if i, err = c.Instance(ctx, i.UUID); err != nil {
				return err
			}
		}
		if took := s.Now().Sub(start); took < 10*time.Minute {
			return fmt.Errorf("it gave up after %v", took)
		}
		if !strings.Contains(i.Status.Error, "injected") {
			return fmt.Errorf("the error is %q", i.Status.Error)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tries < 20 || tries > 60 {
		t.Errorf("%d tries", tries)
	}
}

// A node that cannot work says why when it is opened, and leaves no record of itself.
func TestNodeConfigRefused(t *testing.T) {
	good := sftest.New(t).Config
	for _, c := range []struct {
		change func(*sf.NodeConfig)
		text   string
	}{
		{func(n *sf.NodeConfig) { n.Name = "a/b" }, `the node's name "a/b"`},
		{func(n *sf.NodeConfig) { n.Name = "node one" }, `the node's name "node one"`},
		{func(n *sf.NodeConfig) { n.CPUOvercommit = -1 }, "CPUOvercommit -1"},
		{func(n *sf.NodeConfig) { n.MemoryOvercommit = math.NaN() }, "MemoryOvercommit NaN"},
		{func(n *sf.NodeConfig) { n.Workers = -1 }, "Workers -1"},
		{func(n *sf.NodeConfig) { n.SessionTTL = -time.Second }, "SessionTTL -1s"},
		{func(n *sf.NodeConfig) { n.RawPorts = &sf.RawPorts{Low: 40000} }, "RawPorts from 40000 to 0"},
		{func(n *sf.NodeConfig) { n.RawPorts = &sf.RawPorts{Low: 60000, High: 70000} }, "RawPorts from 60000 to 70000"},
	} {
		node := *good.Node
		c.change(&node)
		cfg := sf.Config{Store: memory.New(memory.Config{}), Node: &node}
		cloud, err := sf.Open(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: opened %v, error %v", c.text, cloud != nil, err)
		}
		if l, err := cfg.Store.List(t.Context(), "", store.Page{}); err != nil || len(l.Records) > 0 {
			t.Errorf("%s: left %d records, %v", c.text, len(l.Records), err)
		}
	}
}

// What guests could not be told is refused when the cloud is opened, not network by
// network afterwards.
func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*sf.Config)
		text   string
	}{
		{func(c *sf.Config) { c.Zone = "a zone" }, `zone "a zone"`},
		{func(c *sf.Config) { c.Zone = strings.Repeat("z", 300) }, "at most 128"},
		{func(c *sf.Config) { c.DiskBus = "floppy" }, `disk bus "floppy"`},
		{func(c *sf.Config) { c.DNS = []netip.Addr{netip.MustParseAddr("2001:db8::1")} }, "2001:db8::1 is not an IPv4 address"},
		{func(c *sf.Config) { c.DNS = make([]netip.Addr, 17) }, "17 DNS servers, at most 16"},
	} {
		cfg := sf.Config{Store: memory.New(memory.Config{})}
		c.change(&cfg)
		if cloud, err := sf.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: opened %v, error %v", c.text, cloud != nil, err)
		}
	}
}
