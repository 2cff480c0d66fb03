//go:build linux

package linux

import (
	"context"
	"testing"

	"github.com/shakenfist/cloud/netfab"
)

func TestSmoke(t *testing.T) {
	w := newWorld(t)
	f := w.fabric(Config{})
	want := netfab.Desired{Outside: outside, Networks: []netfab.Network{network(1, 2), network(2, 1)}}
	w.apply(f, want)
	o, err := f.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("observed:\n%s", o)
	n, _, _ := netfab.Normalize(want)
	for _, s := range netfab.Diff(n, o) {
		t.Errorf("step: %s", s)
	}
	w.apply(f, netfab.Desired{})
	o, err = f.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("observed:\n%s", o)
}
