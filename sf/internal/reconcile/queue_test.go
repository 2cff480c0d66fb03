package reconcile

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOrderAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(RealClock{})
		q.AddAfter("late", 2*time.Second)
		q.AddAfter("soon", time.Second)
		q.Add("now")
		start := time.Now()
		for i, want := range []string{"now", "soon", "late"} {
			key, err := q.Next(t.Context())
			if err != nil || key != want || time.Since(start) != time.Duration(i)*time.Second {
				t.Fatalf("got %q, %v after %v, want %q", key, err, time.Since(start), want)
			}
			q.Done(key, -1)
		}
		if q.Len() != 0 {
			t.Fatalf("%d keys left", q.Len())
		}
	})
}

// A key added while it is handled is handled again afterwards, once.
func TestAddWhileRunning(t *testing.T) {
	q := New(RealClock{})
	q.Add("a")
	key, _ := q.Next(t.Context())
	q.Add("a")
	q.Add("a")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if k, err := q.Next(done); err == nil {
		t.Fatalf("%q handed out twice at once", k)
	}
	q.Done(key, -1)
	if key, err := q.Next(t.Context()); err != nil || key != "a" {
		t.Fatalf("got %q, %v", key, err)
	}
	q.Done("a", -1)
	if q.Len() != 0 {
		t.Fatal("it came back a third time")
	}
}

// An earlier wish wins over the time that Done or another wish names.
func TestEarlierWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(RealClock{})
		start := time.Now()
		q.AddAfter("a", time.Hour)
		q.AddAfter("a", time.Second)
		q.AddAfter("a", time.Minute)
		q.Next(t.Context())
		if time.Since(start) != time.Second {
			t.Fatalf("due after %v", time.Since(start))
		}
		q.AddAfter("a", 5*time.Second)
		q.Done("a", time.Minute)
		q.Next(t.Context())
		if time.Since(start) != 6*time.Second {
			t.Fatalf("due after %v", time.Since(start))
		}
	})
}

func TestManyWorkers(t *testing.T) {
	q := New(RealClock{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	busy, handled := map[string]bool{}, map[string]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				key, err := q.Next(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				if busy[key] {
					t.Errorf("%s is handled twice at once", key)
				}
				busy[key] = true
				mu.Unlock()
				mu.Lock()
				busy[key] = false
				handled[key]++
				finished := len(handled) == 100
				mu.Unlock()
				q.Done(key, -1)
				if finished {
					cancel()
				}
			}
		})
	}
	for i := range 1000 {
		q.Add(fmt.Sprint(i % 100))
	}
	wg.Wait()
	if len(handled) != 100 {
		t.Fatalf("%d of 100 keys handled", len(handled))
	}
}

func TestBackoff(t *testing.T) {
	if Backoff(1) != 100*time.Millisecond || Backoff(3) != 400*time.Millisecond || Backoff(100) != 30*time.Second {
		t.Fatal(Backoff(1), Backoff(3), Backoff(100))
	}
}
