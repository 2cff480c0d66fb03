package netfabtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Fenced routers work while they are kept, others always.
func testKeep(t *testing.T, h Host) {
	ctx := context.Background()
	before := h.Text()
	f := h.open(t)
	keeper, ok := netfab.As[netfab.Keeper](f)
	if !ok {
		t.Log("the fabric has no fence")
		return
	}
	routes := func(want bool, when string) {
		t.Helper()
		if got := h.Routes(); got != want {
			t.Fatalf("%s: the router works: %t, want %t", when, got, want)
		}
	}
	keep := func(k netfab.Keeper, d time.Duration) {
		t.Helper()
		if err := k.Keep(ctx, d); err != nil {
			t.Fatalf("Keep %v: %v", d, err)
		}
	}
	guarded := Broken()
	guarded.Outside.Fenced = true

	keep(keeper, -1) // nothing to keep is nil
	apply(t, f, Broken())
	routes(true, "without a fence")
	apply(t, f, guarded)
	routes(false, "fenced and not kept")
	keep(keeper, time.Hour)
	routes(true, "kept")
	apply(t, f, guarded)
	routes(true, "kept and applied again")
	later := h.open(t)
	apply(t, later, guarded)
	routes(true, "applied by the next process")
	again, _ := netfab.As[netfab.Keeper](later)
	keep(again, 0)
	routes(false, "stopped by the next process")
	keep(again, time.Hour)
	routes(true, "kept by the next process")
	apply(t, later, Broken())
	routes(true, "the fence gone")
	h.gone(t, later, before)

	fresh := h.open(t) // what is kept before there is a router holds when there is
	early, _ := netfab.As[netfab.Keeper](fresh)
	keep(early, time.Hour)
	apply(t, fresh, guarded)
	routes(true, "kept, then made")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := early.Keep(cancelled, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Keep with a context that is done: %v", err)
	}
	h.gone(t, fresh, before)
}
