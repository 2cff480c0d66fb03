package sf_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store/memory"
)

// TestFloatingNetworkIsRemembered opens one store with several configurations: a
// tool that says nothing of the floating network works with whatever it is.
func TestFloatingNetworkIsRemembered(t *testing.T) {
	ctx := sftest.Context(t)
	records := memory.New(memory.Config{})
	defer records.Close()
	open := func(block string) (*sf.Cloud, error) {
		cfg := sf.Config{Store: records}
		if block != "" {
			cfg.FloatingNetwork = netip.MustParsePrefix(block)
		}
		return sf.Open(ctx, cfg)
	}
	for _, step := range []struct{ configured, want string }{
		{"", "192.168.20.0/24"},
		{"10.99.0.0/24", "10.99.0.0/24"},
		{"", "10.99.0.0/24"},
		{"10.98.0.0/24", "10.98.0.0/24"},
	} {
		c, err := open(step.configured)
		if err != nil {
			t.Fatalf("%q: %v", step.configured, err)
		}
		n, err := c.Network(ctx, sf.FloatingNetwork)
		if err != nil || n.Netblock != step.want {
			t.Errorf("configured %q: it is %+v, %v, want %s", step.configured, n, err, step.want)
		}
		c.Close()
	}
	if _, err := open("10.0.0.0/31"); err == nil || !strings.Contains(err.Error(), "floating network") {
		t.Errorf("a block without room: %v", err)
	}
}

// TestFloatingNetworkInUse refuses to move the block from under a network's
// outside address, which is inside the recorded block.
func TestFloatingNetworkInUse(t *testing.T) {
	ctx := sftest.Context(t)
	c := sftest.New(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	outside, err := c.Network(ctx, sf.FloatingNetwork)
	if err != nil || !outside.Prefix().Contains(n.Gateway) {
		t.Fatalf("outside address %s of %+v, %v", n.Gateway, outside, err)
	}
	_, err = sf.Open(ctx, sf.Config{Store: c.Store, FloatingNetwork: netip.MustParsePrefix("10.99.0.0/24")})
	if err == nil || !strings.Contains(err.Error(), n.Gateway.String()) {
		t.Errorf("moved from under %s: %v", n.Gateway, err)
	}
}
