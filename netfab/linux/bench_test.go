//go:build linux

package linux

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// bench is a host with an outside, a hundred networks, and one more to play with.
func bench(b *testing.B, others int) (f *Fabric, without, with netfab.Desired) {
	b.Helper()
	w := newWorld(b)
	f = w.fabric(Config{Tag: "bench"})
	without.Outside = outside
	for i := range others {
		without.Networks = append(without.Networks, network(100+i, 1))
	}
	with = without
	with.Networks = append(with.Networks[:others:others], network(1, 0))
	if err := f.Apply(context.Background(), without); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Apply(context.Background(), netfab.Desired{}) })
	return f, without, with
}

func run(b *testing.B, f *Fabric, want netfab.Desired) {
	if err := f.Apply(context.Background(), want); err != nil {
		b.Fatal(err)
	}
}

// A network with NAT comes, beside a hundred others.
func BenchmarkCreate(b *testing.B) {
	f, without, with := bench(b, 100)
	for b.Loop() {
		run(b, f, with)
		b.StopTimer()
		run(b, f, without)
		b.StartTimer()
	}
}

// It goes.
func BenchmarkDelete(b *testing.B) {
	f, without, with := bench(b, 100)
	for b.Loop() {
		b.StopTimer()
		run(b, f, with)
		b.StartTimer()
		run(b, f, without)
	}
}

// A port comes to a network that has ten.
func BenchmarkAddPort(b *testing.B) {
	f, without, _ := bench(b, 100)
	ten, eleven := network(1, 10), network(1, 11)
	few, more := without, without
	few.Networks = append(few.Networks[:100:100], ten)
	more.Networks = append(more.Networks[:100:100], eleven)
	run(b, f, few)
	for b.Loop() {
		run(b, f, more)
		b.StopTimer()
		run(b, f, few)
		b.StartTimer()
	}
}

// A hundred networks are as they should be, and that is known.
func BenchmarkNothing(b *testing.B) {
	f, without, _ := bench(b, 100)
	for b.Loop() {
		run(b, f, without)
	}
}

// A hundred networks are as they should be, and each is looked at.
func BenchmarkResync(b *testing.B) {
	f, without, _ := bench(b, 100)
	f.resync = -1
	for b.Loop() {
		run(b, f, without)
	}
}

// beside is a fabric of one network with that many guests on ten other hosts.
func beside(b *testing.B, count int) (f *Fabric, without, with netfab.Desired) {
	b.Helper()
	w := newWorld(b)
	f = w.fabric(Config{Tag: "bench"})
	n := network(1, 1)
	n.Prefix, n.Gateway = netip.MustParsePrefix("10.0.0.0/16"), nil
	without = netfab.Desired{Underlay: netfab.Underlay{Addr: hostUplink.Addr()}, Networks: []netfab.Network{n}}
	full := n.Clone()
	for i := range count {
		full.Remote = append(full.Remote, netfab.Remote{
			MAC: fmt.Sprintf("02:00:02:00:%02x:%02x", i>>8, i&255), Addr: netip.AddrFrom4([4]byte{10, 0, byte(4 + i>>8), byte(i)}),
			VTEP: netip.AddrFrom4([4]byte{203, 0, 113, byte(100 + i%10)}),
		})
	}
	with = without
	with.Networks = []netfab.Network{full}
	run(b, f, without)
	b.Cleanup(func() { f.Apply(context.Background(), netfab.Desired{}) })
	return f, without, with
}

// A thousand guests of other hosts become known, with three entries each.
func BenchmarkRemotes1000(b *testing.B) {
	f, without, with := beside(b, 1000)
	for b.Loop() {
		run(b, f, with)
		b.StopTimer()
		run(b, f, without)
		b.StartTimer()
	}
}

// They are forgotten.
func BenchmarkForget1000(b *testing.B) {
	f, without, with := beside(b, 1000)
	for b.Loop() {
		b.StopTimer()
		run(b, f, with)
		b.StartTimer()
		run(b, f, without)
	}
}

// Another comes to a thousand.
func BenchmarkRemoteBeside1000(b *testing.B) {
	f, _, with := beside(b, 1000)
	run(b, f, with)
	more := with.Networks[0].Clone()
	more.Remote = append(more.Remote, netfab.Remote{MAC: "02:00:03:00:00:01", Addr: netip.MustParseAddr("10.0.200.1"), VTEP: netip.MustParseAddr("203.0.113.101")})
	another := with
	another.Networks = []netfab.Network{more}
	for b.Loop() {
		run(b, f, another)
		b.StopTimer()
		run(b, f, with)
		b.StartTimer()
	}
}

// The fence of a host is refreshed.
func BenchmarkKeep(b *testing.B) {
	w := newWorld(b)
	f := w.fabric(Config{Tag: "bench"})
	fenced := outside
	fenced.Fenced = true
	run(b, f, netfab.Desired{Outside: fenced})
	b.Cleanup(func() { f.Apply(context.Background(), netfab.Desired{}) })
	for b.Loop() {
		if err := f.Keep(context.Background(), time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
