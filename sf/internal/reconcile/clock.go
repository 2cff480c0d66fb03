package reconcile

import (
	"context"
	"time"
)

// Clock is time and waiting, injected. All waiting below sf goes through it or
// through a store's watch, which is what lets a simulator single-step a cloud.
type Clock interface {
	// Now is what time it is. How long something has taken is the difference of two of
	// them, which clocks that are set meanwhile spoil unless both have what package time
	// calls a monotonic reading.
	Now() time.Time
	// Wait returns nil when wake delivers or is closed, or d has passed, and ctx's
	// error when that is done first. A negative d is no limit; a nil wake never
	// delivers.
	Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) error
}

// RealClock is the machine's clock.
type RealClock struct{}

// Now returns the current time. It is not in UTC, since that would take its monotonic
// reading away.
func (RealClock) Now() time.Time { return time.Now() }

// Wait waits as Clock says.
func (RealClock) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-wake:
		return nil
	case <-timer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
