package netfab

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is a fabric with one of everything.
func example() Desired {
	return Desired{
		Underlay: Underlay{Addr: netip.MustParseAddr("172.16.0.1"), MTU: 1500},
		Outside:  Outside{Prefix: netip.MustParsePrefix("192.168.20.0/24"), Uplink: "eth0"},
		Networks: []Network{
			{
				ID: "blue", VNI: 7, Prefix: netip.MustParsePrefix("10.0.0.0/24"), MTU: 1450,
				Router: Router{Addr: netip.MustParseAddr("10.0.0.1"), MAC: "02:00:01:00:00:07"},
				Ports: []Port{
					{ID: "blue-a", MAC: "02:00:00:00:07:0a", Addr: netip.MustParseAddr("10.0.0.10")},
					{ID: "blue-b", MAC: "02:00:00:00:07:0b"},
				},
				Remote: []Remote{{MAC: "02:00:00:00:07:0c", Addr: netip.MustParseAddr("10.0.0.12"), VTEP: netip.MustParseAddr("172.16.0.2")}},
				Gateway: &Gateway{Addr: netip.MustParseAddr("192.168.20.2"), NAT: true,
					Floating: []Floating{{Outside: netip.MustParseAddr("192.168.20.100"), Inside: netip.MustParseAddr("10.0.0.10")}}},
			},
			{
				ID: "green", VNI: 8, Prefix: netip.MustParsePrefix("10.0.0.0/24"), MTU: 1400,
				Router: Router{Addr: netip.MustParseAddr("10.0.0.1"), MAC: "02:00:01:00:00:08"},
			},
		},
	}
}

// observed is what a host has on which d was applied.
func observed(d Desired) Observed {
	return Observed{Underlay: Underlay{Addr: d.Underlay.Addr}, Outside: d.Outside, Networks: d.Networks}.Clone()
}

// Each case turns the example into something else; the golden file has the steps.
func TestDiff(t *testing.T) {
	empty := func(*Desired, *Observed) {}
	for _, c := range []struct {
		name string
		// change starts from want and have being equal.
		change func(want *Desired, have *Observed)
	}{
		{"equal", empty},
		{"create", func(_ *Desired, have *Observed) { *have = Observed{} }},
		{"delete", func(want *Desired, _ *Observed) { *want = Desired{} }},
		{"strays", func(_ *Desired, have *Observed) {
			have.Stray = []string{"name sf-1a2b3c-000007", "device sfv1a2b3c000007"}
		}},
		{"damaged", func(_ *Desired, have *Observed) {
			have.Damaged = map[string][]string{"green": {"br0 is down", "lo is down"}}
			have.OutsideDamaged = []string{"forward chains filter FORWARD drop"}
		}},
		{"port-gone", func(want *Desired, _ *Observed) { want.Networks[0].Ports = want.Networks[0].Ports[1:] }},
		{"port-missing", func(_ *Desired, have *Observed) { have.Networks[0].Ports = have.Networks[0].Ports[1:] }},
		{"port-changes-place", func(want *Desired, _ *Observed) {
			p := want.Networks[0].Ports
			p[1].Addr, p[0].Addr = p[0].Addr, netip.Addr{}
		}},
		{"port-half-made", func(_ *Desired, have *Observed) { have.Networks[0].Ports[0] = Port{ID: "blue-a"} }},
		{"mtu", func(want *Desired, _ *Observed) { want.Networks[0].MTU = 1300 }},
		{"router", func(want *Desired, _ *Observed) { want.Networks[0].Router.Addr = netip.MustParseAddr("10.0.0.254") }},
		{"vni", func(want *Desired, _ *Observed) { want.Networks[0].VNI = 9 }},
		{"id", func(want *Desired, _ *Observed) { want.Networks[0].ID = "red" }},
		{"underlay", func(want *Desired, _ *Observed) { want.Underlay.Addr = netip.MustParseAddr("172.16.0.9") }},
		{"gateway-gone", func(want *Desired, _ *Observed) { want.Networks[0].Gateway = nil }},
		{"gateway-comes", func(_ *Desired, have *Observed) { have.Networks[0].Gateway = nil }},
		{"gateway-moves", func(want *Desired, _ *Observed) { want.Networks[0].Gateway.Addr = netip.MustParseAddr("192.168.20.3") }},
		{"nat-off", func(want *Desired, _ *Observed) { want.Networks[0].Gateway.NAT = false }},
		{"float-leads-elsewhere", func(want *Desired, _ *Observed) {
			want.Networks[0].Gateway.Floating[0].Inside = netip.MustParseAddr("10.0.0.11")
		}},
		{"float-gone", func(want *Desired, _ *Observed) { want.Networks[0].Gateway.Floating = nil }},
		{"outside-moves", func(want *Desired, _ *Observed) {
			want.Outside = Outside{Prefix: netip.MustParsePrefix("192.168.21.0/24")}
			want.Networks[0].Gateway = &Gateway{Addr: netip.MustParseAddr("192.168.21.2"), NAT: true}
		}},
		{"outside-peers", func(want *Desired, have *Observed) {
			have.Outside.Peers = []netip.Addr{netip.MustParseAddr("172.16.0.2")}
			want.Outside.Peers = []netip.Addr{netip.MustParseAddr("172.16.0.2"), netip.MustParseAddr("172.16.0.3")}
		}},
		{"outside-gone", func(want *Desired, _ *Observed) { want.Outside, want.Networks[0].Gateway = Outside{}, nil }},
		{"remote-moves", func(want *Desired, _ *Observed) { want.Networks[0].Remote[0].VTEP = netip.MustParseAddr("172.16.0.3") }},
		{"float-moves-to-earlier-network", func(want *Desired, have *Observed) {
			green := &Gateway{Addr: netip.MustParseAddr("192.168.20.3"), Floating: []Floating{{
				Outside: netip.MustParseAddr("192.168.20.100"), Inside: netip.MustParseAddr("10.0.0.10")}}}
			have.Networks[1].Gateway, have.Networks[0].Gateway.Floating = green, nil
			want.Networks[1].Gateway = &Gateway{Addr: green.Addr}
		}},
		{"remote-comes-here", func(want *Desired, _ *Observed) {
			n := &want.Networks[0]
			n.Ports = append(n.Ports, Port{ID: "blue-c", MAC: n.Remote[0].MAC, Addr: n.Remote[0].Addr})
			n.Remote = nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := clone(example())
			have := observed(example())
			c.change(&want, &have)
			before, beforeWant := have.Clone(), clone(want)
			var text strings.Builder
			for _, s := range Diff(want, have) {
				fmt.Fprintln(&text, s)
			}
			golden(t, filepath.Join("testdata", "diff", c.name+".txt"), text.String())
			if !reflect.DeepEqual(have, before) || !reflect.DeepEqual(want, beforeWant) {
				t.Error("Diff changed its argument")
			}
			if normal, bad, err := Normalize(want); err != nil || len(bad) > 0 || fmt.Sprint(Diff(normal, have)) != fmt.Sprint(Diff(want, have)) {
				t.Errorf("the case is not in normal form: %v %v", bad, err)
			}
		})
	}
}

// clone copies a Desired deeply.
func clone(d Desired) Desired {
	o := Observed{Networks: d.Networks}.Clone()
	d.Networks = o.Networks
	return d
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", path, got, want)
	}
}
