package memory_test

import (
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
	"github.com/shakenfist/cloud/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Config{
		Open: func(t *testing.T) store.Store {
			s := memory.New(memory.Config{})
			t.Cleanup(func() { s.Close() })
			return s
		},
	})
}

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestConformanceWithClock(t *testing.T) {
	var c *clock
	storetest.Run(t, storetest.Config{
		Open: func(*testing.T) store.Store {
			c = &clock{now: time.Unix(1, 0)}
			return memory.New(memory.Config{Now: c.Now})
		},
		Advance: func(_ store.Store, d time.Duration) { c.Advance(d) },
		Now:     func(store.Store) time.Time { return c.Now() },
	})
}
