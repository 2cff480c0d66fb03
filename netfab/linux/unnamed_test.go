//go:build linux

package linux

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
)

// A guest keeps its network when somebody takes the name of its namespace away, whether
// the process that made it is there or another: the next Apply finds the namespace by who
// has a tap in it open, and names it again.
func TestUnnamed(t *testing.T) {
	w := newWorld(t)
	n := network(1, 2)
	want := netfab.Desired{Underlay: netfab.Underlay{Addr: hostUplink.Addr()}, Outside: outside, Networks: []netfab.Network{n}}
	f := w.fabric(Config{Tag: suiteTag})
	w.apply(f, want)
	one, two := w.guest(f, n, 0), w.guest(f, n, 1)
	check := func() {
		t.Helper()
		ping(t, one.NS, two.addr, 56)
		ping(t, one.NS, far.Addr(), 56)
	}
	check()
	before, err := inode(f.path(n.VNI))
	w.must(err)
	g := n.Gateway
	for _, test := range []struct {
		name    string
		fabric  *Fabric
		unname  func(path string) error
		gateway *netfab.Gateway // wanted meanwhile
	}{
		{"unmounted", f, func(path string) error { return unix.Unmount(path, unix.MNT_DETACH) }, g},
		{"deleted", f, netns.Unmount, g},
		{"deleted, and another process", w.fabric(Config{Tag: suiteTag}), netns.Unmount, g},
		{"deleted, and no router any more", w.fabric(Config{Tag: suiteTag}), netns.Unmount, nil},
	} {
		want.Networks[0].Gateway = g
		w.apply(test.fabric, want)
		check()
		w.must(test.unname(f.path(n.VNI)))
		want.Networks[0].Gateway = test.gateway
		w.apply(test.fabric, want)
		if after, err := inode(f.path(n.VNI)); err != nil || after != before {
			t.Errorf("%s: it is another namespace now, %v", test.name, err)
		}
		if test.gateway != nil {
			check()
		}
		ping(t, one.NS, two.addr, 56)
		o, err := test.fabric.Observe(context.Background())
		w.must(err)
		if steps := netfab.Diff(normal(t, want), o); len(steps) > 0 {
			t.Errorf("%s: left to do: %v", test.name, steps)
		}
	}
	// Another network's guests are nothing to one that is made.
	other := network(2, 1)
	want.Networks = []netfab.Network{other}
	w.must(netns.Unmount(f.path(n.VNI)))
	w.apply(w.fabric(Config{Tag: suiteTag}), want)
	if after, err := inode(f.path(other.VNI)); err != nil || after == before {
		t.Errorf("another network took the namespace: %v", err)
	}
}

func normal(t *testing.T, want netfab.Desired) netfab.Desired {
	t.Helper()
	want, bad, err := netfab.Normalize(want)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	return want
}
