//go:build linux

package linux

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/netfab/netfabtest"
)

// unnoticed are breaks that the kernel tells nobody of: settings. An Apply finds
// them after Config.Resync.
var unnoticed = []string{"forwarding is off", "IPv6 is on"}

// Whatever somebody breaks is noticed at once; what Apply does about it is not.
func TestChanged(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{Tag: suiteTag})
	want := netfabtest.Broken()
	w.apply(f, want)
	waiting := func() chan error {
		ended := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		t.Cleanup(cancel)
		go func() { ended <- f.Changed(ctx) }()
		return ended
	}
	silent := func(when string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if err := f.Changed(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Changed: %v, but nobody changed anything", when, err)
		}
	}
	silent("at first")
	breaks := w.breaks()
	var longest time.Duration
	for _, name := range slices.Sorted(maps.Keys(breaks)) {
		if slices.Contains(unnoticed, name) {
			continue
		}
		before := w.text()
		ended, start := waiting(), time.Now()
		breaks[name]()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		longest = max(longest, time.Since(start))
		w.apply(f, want)
		if after := w.text(); after != before {
			t.Errorf("%s: not repaired", name)
		}
		silent("repaired: " + name)
	}
	t.Logf("the slowest of %d was noticed after %v", len(breaks)-len(unnoticed), longest)
}

// Other people's business is not ours; what we do ourselves is no news.
func TestChangedByOthers(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	one, two := network(1, 2), network(2, 1)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{one}})
	ended := make(chan error, 1)
	go func() { ended <- f.Changed(ctx) }()
	h := w.conn(w.host)
	w.do(h, rt.AddLink(rt.Link{Index: 40, Name: "theirs0", Up: true}, rt.Veth(rt.Link{Name: "theirs1"}, w.internet.Fd()), 0)...)
	w.do(h, rt.DelLink("theirs0"))
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{one, two}})
	g := w.guest(f, one, 0)
	ping(t, g.NS, far.Addr(), 56)
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{two}})
	select {
	case err := <-ended:
		t.Fatalf("Changed: %v, but nobody changed what is ours", err)
	case <-time.After(300 * time.Millisecond): // for what may still be on its way
	}
	// A network that came later is watched too.
	w.deleteTap(f, two)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	go func() { ended <- f.Changed(ctx) }()
	w.apply(f, netfab.Desired{Outside: outside, Networks: []netfab.Network{two}})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Changed after its context: %v", err)
	}
	go func() { ended <- f.Changed(context.Background()) }()
	f.Close()
	if err := <-ended; err == nil {
		t.Error("Changed of a closed fabric is nil")
	}
}

// deleteTap deletes the first port of a network by hand.
func (w *world) deleteTap(f *Fabric, n netfab.Network) {
	w.t.Helper()
	at := f.Attachment(n.ID, n.VNI, n.Ports[0].ID)
	ns, err := netns.Open(at.NetNS)
	w.must(err)
	defer ns.Close()
	w.do(w.conn(ns), rt.DelLink(at.Tap))
}
