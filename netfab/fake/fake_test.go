package fake_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/fake"
)

func desired() netfab.Desired {
	return netfab.Desired{
		Outside: netfab.Outside{Prefix: netip.MustParsePrefix("192.168.20.0/24")},
		Networks: []netfab.Network{{
			ID: "net-b", VNI: 7, Prefix: netip.MustParsePrefix("10.0.0.0/24"),
			Router: netfab.Router{Addr: netip.MustParseAddr("10.0.0.1"), MAC: "02:00:00:00:00:01"},
			Ports: []netfab.Port{
				{ID: "port-2", MAC: "02:00:00:00:00:0B", Addr: netip.MustParseAddr("10.0.0.3")},
				{ID: "port-1", MAC: "02:00:00:00:00:0a", Addr: netip.MustParseAddr("10.0.0.2")},
			},
			Gateway: &netfab.Gateway{
				Addr: netip.MustParseAddr("192.168.20.9"), NAT: true,
				Floating: []netfab.Floating{{Outside: netip.MustParseAddr("192.168.20.10"), Inside: netip.MustParseAddr("10.0.0.2")}},
			},
		}},
	}
}

// The whole host as text: what a test of a simulated cloud compares.
func TestHostText(t *testing.T) {
	f := fake.New(fake.Config{Tag: "c/n"})
	if err := f.Apply(context.Background(), desired()); err != nil {
		t.Fatal(err)
	}
	const want = `tag "c/n"
outside addr 192.168.20.0/24 via 192.168.20.1
network net-b vni 7 10.0.0.0/24 mtu 1450 router 10.0.0.1 lladdr 02:00:00:00:00:01
  port port-1 lladdr 02:00:00:00:00:0a addr 10.0.0.2
  port port-2 lladdr 02:00:00:00:00:0b addr 10.0.0.3
  gateway addr 192.168.20.9 masquerade
  float 192.168.20.10 to 10.0.0.2
`
	if got := f.Host().String(); got != want {
		t.Errorf("host:\n%swant:\n%s", got, want)
	}
	if err := f.Apply(context.Background(), netfab.Desired{}); err != nil {
		t.Fatal(err)
	}
	if got := f.Host().String(); got != "" {
		t.Errorf("something is left:\n%s", got)
	}
}

// A killed Apply leaves what it had done; another process goes on from there.
func TestKilledBetweenSteps(t *testing.T) {
	whole := fake.New(fake.Config{})
	var calls int
	counting := fake.New(fake.Config{Host: whole.Host(), Hook: func(string) error { calls++; return nil }})
	if err := counting.Apply(context.Background(), desired()); err != nil {
		t.Fatal(err)
	}
	if calls < 6 {
		t.Fatalf("only %d points to be killed at", calls)
	}
	for at := range calls {
		host, left := fake.NewHost(), at
		killed := fake.New(fake.Config{Host: host, Hook: func(string) error {
			if left--; left < 0 {
				return netfab.ErrAborted
			}
			return nil
		}})
		if err := killed.Apply(context.Background(), desired()); !errors.Is(err, netfab.ErrAborted) {
			t.Fatalf("killed at %d: %v", at, err)
		}
		if err := fake.New(fake.Config{Host: host}).Apply(context.Background(), desired()); err != nil {
			t.Fatal(err)
		}
		if got, want := host.String(), whole.Host().String(); got != want {
			t.Errorf("killed at %d, then applied:\n%swant:\n%s", at, got, want)
		}
	}
}
