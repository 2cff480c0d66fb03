// Package measure counts what a cloud does. Nothing of it is global: each value is
// its owner's, and is read by taking a copy.
package measure

import (
	"slices"
	"sync"
	"time"
)

// bounds of histograms, in seconds.
var bounds = []float64{0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600}

// Times are how long something took.
type Times struct {
	Count   int64
	Seconds float64   // of all
	Bounds  []float64 // seconds, in order; not to be modified
	Within  []int64   // how many took at most the bound of the same index
}

// Clock counts times. The zero Clock is ready to use.
type Clock struct {
	mu    sync.Mutex
	times Times
}

// Took counts one.
func (c *Clock) Took(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times.Within == nil {
		c.times.Bounds, c.times.Within = bounds, make([]int64, len(bounds))
	}
	c.times.Count++
	c.times.Seconds += d.Seconds()
	for i, most := range bounds {
		if d.Seconds() <= most {
			c.times.Within[i]++
		}
	}
}

// Times returns what was counted.
func (c *Clock) Times() Times {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.times
	t.Within = slices.Clone(t.Within)
	return t
}
