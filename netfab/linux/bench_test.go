//go:build linux

package linux

import (
	"context"
	"testing"

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
