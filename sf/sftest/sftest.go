// Package sftest is a cloud for tests: a whole one in a process, on a store in
// memory and simulated hosts. New gives it with real goroutines and the real
// clock, for tests of programs that use a cloud; Sim runs it one step at a time
// from a seed, with faults, for tests of the cloud itself. Invariants says whether
// a store and its hosts agree.
package sftest

import (
	"context"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// Cloud is a simulated cloud of one node.
type Cloud struct {
	*sf.Cloud
	Store  store.Store
	Host   *fake.Host   // its machines and volumes: make them fail, crash, print
	Fabric *fabric.Host // its networks
	Config sf.Config    // that the Cloud was opened with
}

// New opens a simulated cloud that ends with the test. Its guests boot at once,
// print a login prompt and obey.
func New(t testing.TB) *Cloud { return NewWith(t, fake.Config{Now: time.Now}) }

// NewWith is New on a host of the caller's making, and with a configuration that
// the caller may change.
func NewWith(t testing.TB, host fake.Config, change ...func(*sf.Config)) *Cloud {
	t.Helper()
	c := &Cloud{Host: fake.NewHost(host), Fabric: fabric.NewHost(), Store: memory.New(memory.Config{})}
	c.Config = sf.Config{Store: c.Store, Node: &sf.NodeConfig{
		Name: "node1", Hypervisor: c.Host.Hypervisor(), Volumes: c.Host.Volumes(),
		Fabric: fabric.New(fabric.Config{Host: c.Fabric, Tag: "sftest/node1"}),
	}}
	for _, f := range change {
		f(&c.Config)
	}
	c.Store = c.Config.Store
	var err error
	if c.Cloud, err = sf.Open(t.Context(), c.Config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the cloud: %v", err)
		}
		if err := c.Store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return c
}

// Context returns a context for one test's calls, with a limit that only a cloud
// that is stuck reaches.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// hosts is the cloud's one host as Invariants wants it.
func (c *Cloud) hosts() []HostView {
	return []HostView{{"node1", c.Host.Hypervisor(), c.Host.Volumes(), fabric.New(fabric.Config{Host: c.Fabric, Tag: "sftest/node1"})}}
}

// MustHold fails the test where an invariant is broken; see Invariants.
func (c *Cloud) MustHold(t testing.TB, quiet bool) {
	t.Helper()
	wrong, err := Invariants(Context(t), c.Store, c.hosts(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Errorf("invariant broken: %s", w)
	}
}

// ComeToRest waits until there is nothing left to do, and fails the test where
// that does not happen within a minute.
func (c *Cloud) ComeToRest(t testing.TB) {
	t.Helper()
	ctx := Context(t)
	for {
		wrong, err := Invariants(ctx, c.Store, c.hosts(), true)
		if err == nil && len(wrong) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cloud does not come to rest: %v %v", err, wrong)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
