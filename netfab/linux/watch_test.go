//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/netfab/netfabtest"
)

// Whatever somebody breaks is noticed at once; what Apply does about it is not.
func TestChanged(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{Tag: suiteTag})
	breaks := w.breaks()
	breaks["the host does not forward"] = w.sysctl(fmt.Sprintf("/proc/self/fd/%d", w.host.Fd()), "ipv4/ip_forward", "0")
	breaks["the name of a namespace that something holds is unmounted"] = func() {
		path := f.path(netfabtest.Broken().Networks[0].VNI)
		ns, err := netns.Open(path)
		w.must(err)
		t.Cleanup(func() { ns.Close() })
		time.Sleep(2 * time.Second) // for news of other things, which would have it looked at
		w.must(unix.Unmount(path, unix.MNT_DETACH))
	}
	w.noticed(f, netfabtest.Broken(), breaks)
	w.must(w.host.Do(func() error {
		if wrong, err := netns.Differ(forwarding); wrong != "" || err != nil {
			t.Errorf("the host: %s, %v", wrong, err)
		}
		return nil
	}))
}

// What leads to other hosts is watched too.
func TestChangedMesh(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{Tag: suiteTag})
	n := network(1, 1)
	n.Gateway = nil
	far := netfab.Remote{MAC: "02:00:02:00:00:09", Addr: netip.MustParseAddr("10.0.0.99"), VTEP: netip.MustParseAddr("203.0.113.99")}
	n.Remote = []netfab.Remote{far}
	want := netfab.Desired{Underlay: netfab.Underlay{Addr: hostUplink.Addr()}, Networks: []netfab.Network{n}}
	w.apply(f, want)
	ns, err := netns.Open(f.path(n.VNI))
	w.must(err)
	defer ns.Close()
	c := w.conn(ns)
	at := [6]byte(mac(far.MAC))
	links := func(request func() rt.Request) func() { return func() { w.do(c, request()) } }
	w.noticed(f, want, map[string]func(){
		"a guest elsewhere is not found": links(func() rt.Request {
			return rt.DelFDB(rt.FDB{Link: w.index(c, meshName), Self: true, MAC: at, Dst: far.VTEP})
		}),
		"a guest elsewhere is behind no port": links(func() rt.Request { return rt.DelFDB(rt.FDB{Link: w.index(c, meshName), MAC: at}) }),
		"a host is not flooded to": links(func() rt.Request {
			return rt.DelFDB(rt.FDB{Link: w.index(c, meshName), Self: true, Dst: far.VTEP})
		}),
		"a guest's neighbour entry is gone": links(func() rt.Request {
			return rt.DelNeighbour(rt.Neighbour{Link: w.index(c, bridgeName), MAC: at, Addr: far.Addr})
		}),
		"vx0 is deleted": links(func() rt.Request { return rt.DelLink(meshName) }),
		"vx0 is down":    links(func() rt.Request { return rt.Down(meshName) }),
	})
}

// noticed breaks what is applied in each way, and sees that it is noticed and made whole.
func (w *world) noticed(f *Fabric, want netfab.Desired, breaks map[string]func()) {
	t := w.t
	t.Helper()
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
	var longest time.Duration
	for _, name := range slices.Sorted(maps.Keys(breaks)) {
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
	t.Logf("the slowest of %d was noticed after %v", len(breaks), longest)
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

// What was repaired and is broken again in the same way is news, however soon it is.
func TestChangedAgain(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	n := network(1, 1)
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{n}}
	w.apply(f, want)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	opened := make(chan error, 1)
	go func() { opened <- f.Changed(ctx) }()
	for f.wake.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	w.deleteTap(f, n)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		w.apply(f, want)
		w.deleteTap(f, n)
		if err := f.Changed(ctx); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}
