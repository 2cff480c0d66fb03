//go:build linux

package linux

import (
	"context"
	"testing"
	"time"
)

// The same is reported again by the clock that the fabric was given, and in the end even
// where that stands still.
func TestPace(t *testing.T) {
	now := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	asked := 0
	f := &Fabric{now: func() time.Time { asked++; return now }}
	ctx := context.Background()
	f.pace(ctx, "br0 is down")
	if f.watch.last != "br0 is down" || !f.watch.lastAt.Equal(now) {
		t.Errorf("reported %q at %v, want at %v", f.watch.last, f.watch.lastAt, now)
	}
	now = now.Add(again)
	asked = 0
	f.pace(ctx, "br0 is down")
	if asked > 2 {
		t.Errorf("it was waited for, though %v had passed", again)
	}
	f.pace(ctx, "br0 is down") // the clock stands still, and this ends
}
