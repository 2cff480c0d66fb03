package memory_test

import (
	"fmt"
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

// A list into memory that was lent for it makes nothing.
func TestListIntoMakesNothing(t *testing.T) {
	s := memory.New(memory.Config{})
	defer s.Close()
	for k := range 1000 {
		if _, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.Put(fmt.Sprintf("k/%03d", k), nil)}}); err != nil {
			t.Fatal(err)
		}
	}
	page := store.Page{Into: make([]store.Record, 0, 1000)}
	made := testing.AllocsPerRun(100, func() {
		if l, err := s.List(t.Context(), "k/", page); err != nil || len(l.Records) != 1000 {
			t.Fatal(len(l.Records), err)
		}
	})
	if made > 0 {
		t.Errorf("%v allocations", made)
	}
}
