package calls_test

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/shakenfist/cloud/driver/internal/calls"
)

// A closed group ends its calls and its background, and Wait is over when both are.
func TestClose(t *testing.T) {
	g := calls.New("test: driver")
	ctx, leave, err := g.Enter(t.Context())
	if err != nil || ctx.Err() != nil {
		t.Fatal(err)
	}
	var ended atomic.Int64
	g.Go(func() { <-g.Context().Done(); ended.Add(1) })
	go func() { <-ctx.Done(); ended.Add(1); leave() }()
	if !g.Close() || g.Close() {
		t.Error("it is closed once")
	}
	g.Wait()
	if n := ended.Load(); n != 2 {
		t.Errorf("Wait waited for %d of two", n)
	}
	if _, _, err := g.Enter(t.Context()); !errors.Is(err, fs.ErrClosed) || err.Error() != "test: driver: "+fs.ErrClosed.Error() {
		t.Errorf("entering it: %v", err)
	}
}

// A call ends with its caller's context, and needs one that is not over; leaving
// ends it too, and the group goes on.
func TestEnter(t *testing.T) {
	g := calls.New("test: driver")
	outer, cancel := context.WithCancel(t.Context())
	one, leaveOne, err := g.Enter(outer)
	if err != nil {
		t.Fatal(err)
	}
	two, leaveTwo, err := g.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-one.Done()
	if two.Err() != nil {
		t.Error("another's call ended")
	}
	if _, _, err := g.Enter(outer); !errors.Is(err, context.Canceled) {
		t.Errorf("entering with a context that is over: %v", err)
	}
	leaveOne()
	leaveTwo()
	<-two.Done()
	if g.Context().Err() != nil {
		t.Error("the group ended with a call")
	}
	g.Wait()
}
