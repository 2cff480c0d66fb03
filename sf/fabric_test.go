package sf_test

import (
	"context"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

// asked is a fabric that remembers what it was last asked for.
type asked struct {
	netfab.Fabric
	mu   sync.Mutex
	last netfab.Desired
}

func (f *asked) Apply(ctx context.Context, want netfab.Desired) error {
	f.mu.Lock()
	f.last = want
	f.mu.Unlock()
	return f.Fabric.Apply(ctx, want)
}

func (f *asked) network(id string) (found netfab.Network) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.last.Networks {
		if n.ID == id {
			found = n
		}
	}
	return found
}

// TestIsolated tells the fabric which networks have no router anywhere: there this
// host's end has to answer at the router's address, or nobody finds the name server.
func TestIsolated(t *testing.T) {
	f := &asked{}
	c := sftest.NewWith(t, realTime, func(cfg *sf.Config) {
		f.Fabric = cfg.Node.Fabric
		cfg.Node.Fabric = f
	})
	ctx := sftest.Context(t)
	for _, nat := range []bool{true, false} {
		n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: nat})
		if err != nil {
			t.Fatal(err)
		}
		newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
		if got := f.network(n.UUID); got.ID == "" || got.Isolated == nat {
			t.Errorf("NAT %t: the fabric was asked for %+v", nat, got)
		}
	}
}

